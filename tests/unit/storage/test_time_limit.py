"""A storage with a time limit: no operation waits longer, and hung ones do not pile up."""

import threading

import pytest

from app.storage.errors import StorageError
from app.storage.time_limit import MAX_OPERATIONS, TimeLimitedStorage


class HungStorage:
    """A storage whose operations wait for the test."""

    origin = None
    requirement = "nothing"

    def __init__(self):
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)

    def put(self, key, data):
        self.wait(key, data)

    def get(self, key, max_bytes=None):
        self.wait(key, max_bytes)
        return b"file"

    def read(self, key):
        yield b"first part"
        self.wait(key)

    def delete(self, prefix):
        self.wait(prefix)

    def free_bytes(self):
        self.wait()

    def locate(self, key, verb="GET"):
        self.wait(key, verb)
        return "url"

    def wait(self, *_):
        self.waiting.release()
        self.gate.wait()


@pytest.fixture
def hung():
    storage = HungStorage()
    yield storage
    storage.gate.set()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda storage: storage.put("p/0.png", b"x"), "could not store p/0.png"),
        (lambda storage: storage.get("p/0.png"), "could not read p/0.png"),
        (lambda storage: list(storage.read("p/0.png")), "could not read p/0.png"),
        (lambda storage: storage.delete("p"), "could not delete p"),
        (lambda storage: storage.free_bytes(), "could not read the free space"),
        (lambda storage: storage.locate("p/0.png"), "could not find p/0.png"),
    ],
)
def test_hung_operation_is_an_error(hung, operation, message):
    """Each operation that does not return in time raises StorageError and names the file."""
    with pytest.raises(StorageError, match=f"{message}: the storage did not answer within 0.01 s"):
        operation(TimeLimitedStorage(hung, limit_s=0.01))


def test_hung_operations_are_limited(hung):
    """While MAX_OPERATIONS operations hang, the next one starts no thread and fails. Once they return, operations work again."""
    storage = TimeLimitedStorage(hung, limit_s=0.01)
    for _ in range(MAX_OPERATIONS):
        with pytest.raises(StorageError, match="within"):
            storage.get("p/0.png")
        assert hung.waiting.acquire(timeout=10)
    with pytest.raises(StorageError, match="earlier requests"):
        storage.get("p/0.png")
    assert not hung.waiting.acquire(blocking=False)
    hung.gate.set()

    assert TimeLimitedStorage(hung).get("p/0.png") == b"file"


def test_operations_share_a_thread():
    """Operations one after the other start fewer threads than there are operations."""
    threads = set()

    class Recording(HungStorage):
        def wait(self, *_):
            threads.add(threading.current_thread())

    storage = TimeLimitedStorage(Recording())
    for _ in range(20):
        storage.put("p/0.png", b"x")

    assert len(threads) < 20

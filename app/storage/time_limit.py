"""Limits how long an operation of a storage may take."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from app.daemon_threads import DaemonThreads
from app.storage import Storage
from app.storage.errors import StorageError

LIMIT_S = 30.0
"""Longer than S3 with its retries takes. A local disk needs milliseconds."""
MAX_OPERATIONS = 8
"""How many operations may run at once, hung ones included: each has a thread and holds its data."""

T = TypeVar("T")


class TimeLimitedStorage:
    """Runs each operation of another storage in another thread and waits for a limited time.

    A system call on a hung disk or network file system never returns. Its thread is left behind.
    """

    def __init__(self, storage: Storage, limit_s: float = LIMIT_S) -> None:
        self._storage = storage
        self._limit_s = limit_s
        self._slots = threading.Semaphore(MAX_OPERATIONS)
        self._threads = DaemonThreads("storage")
        self.origin = storage.origin
        self.requirement = storage.requirement

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file atomically. Raises StorageError."""
        self._run(f"could not store {key}", lambda: self._storage.put(key, data))

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or its first `max_bytes`. Raises FileMissing or StorageError."""
        return self._run(f"could not read {key}", lambda: self._storage.get(key, max_bytes))

    def read(self, key: str) -> Iterator[bytes]:
        """Read a file of any size in parts, each within the limit. Raises FileMissing or StorageError."""
        parts = self._storage.read(key)
        while part := self._run(f"could not read {key}", lambda: next(parts, b"")):
            yield part

    def delete(self, prefix: str) -> None:
        """Delete all files below a prefix, if there are any. Raises StorageError."""
        self._run(f"could not delete {prefix}", lambda: self._storage.delete(prefix))

    def free_bytes(self) -> int | None:
        """Return how much can be stored, or None if that is not known. Raises StorageError."""
        return self._run("could not read the free space", self._storage.free_bytes)

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> Path | str:
        """Return a local path or a URL from which to serve a file. Raises FileMissing or StorageError."""
        return self._run(f"could not find {key}", lambda: self._storage.locate(key, verb))

    def _run(self, failed: str, operation: Callable[[], T]) -> T:
        if not self._slots.acquire(timeout=self._limit_s):
            raise StorageError(f"{failed}: the storage has not answered earlier requests")
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(operation())
            except BaseException as exc:  # noqa: BLE001 -- raised again by the caller
                outcome.set_exception(exc)
            finally:
                self._slots.release()

        self._threads.run(run)
        try:
            return outcome.result(self._limit_s)
        except TimeoutError:
            raise StorageError(
                f"{failed}: the storage did not answer within {self._limit_s:g} s"
            ) from None

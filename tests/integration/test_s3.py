"""A real S3 server that is killed, paused, full, or used with the wrong keys."""

import io
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from app.api.assets import open_page
from app.predictions.failure import Cause
from app.predictions.prediction import Status
from app.storage import open_storage
from app.storage.errors import FileMissing, StorageError
from app.storage.s3 import S3Storage
from tests.support.fakes import a_prediction, a_result, a_store
from tests.support.s3_server import SECRET, S3Server, running_s3
from worker.job.leases import Lease, Leases
from worker.job.publisher import Publisher

pytestmark = pytest.mark.timeout(120)
URL = "s3://klein/faults"
KEYLESS = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",  # an address without a server: no machine role
}


@pytest.fixture(scope="module")
def own_s3() -> Iterator[S3Server]:
    """A server that the tests of this file may harm."""
    with running_s3() as server:
        yield server


@pytest.fixture
def variables(own_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in own_s3.environ.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def stopped_s3(own_s3: S3Server, variables: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Keep the server dead until the test starts it."""
    own_s3.kill()
    yield own_s3
    if not own_s3.is_running:
        own_s3.start()


@pytest.mark.slow
@pytest.mark.usefixtures("variables")
def test_interrupted_upload_keeps_old_file(own_s3: S3Server) -> None:
    """A server that dies during a multipart upload keeps the old file, and nothing of the new one."""

    class Deadly(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 20_000_000 and own_s3.is_running:
                own_s3.kill()
            return super().read(size)

    storage = open_storage(URL)
    storage.put("p/0.png", b"old")
    for key in ("p/0.png", "p/1.png"):
        with pytest.raises(StorageError, match=f"could not store {key}: S3 "):
            storage.put(key, Deadly(b"x" * 60_000_000))
        own_s3.start()

    assert storage.get("p/0.png") == b"old"
    with pytest.raises(FileMissing):
        storage.locate("p/1.png")


def test_unreachable_s3_is_storage_error(stopped_s3: S3Server) -> None:
    """Every operation raises that S3 cannot be reached, without its address, and works again once it is back."""
    storage = open_storage(URL)
    for act in (
        lambda: storage.put("d/0.png", b"x"),
        lambda: storage.get("d/0.png"),
        lambda: storage.locate("d/0.png"),
        lambda: storage.delete("d"),
    ):
        with pytest.raises(StorageError, match=r"could not .*: S3 cannot be reached$") as caught:
            act()
        assert not isinstance(caught.value, FileMissing)
        assert "127.0.0.1" not in str(caught.value)
    stopped_s3.start()
    storage.put("d/0.png", b"x")

    assert storage.get("d/0.png") == b"x"


@pytest.mark.usefixtures("variables")
def test_s3_timeout(own_s3: S3Server) -> None:
    """A request that is not answered within its timeout ends with an error that says so."""
    storage = S3Storage("klein", "faults", within=timedelta(seconds=0.2))
    own_s3.pause()
    try:
        with pytest.raises(StorageError, match=r"S3 did not answer in time$"):
            storage.put("h/0.png", b"x")
    finally:
        own_s3.go_on()
    patient = open_storage(URL)
    patient.put("h/1.png", b"x")

    assert patient.get("h/1.png") == b"x"


def test_full_s3_is_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not fit is a StorageError with the server's own code, and is not stored. The old file stays."""
    with running_s3(volumes=1, volume_mb=1) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        storage = open_storage(URL)
        stored: list[str] = []

        def fill() -> None:
            while len(stored) < 100:
                storage.put(f"f/{len(stored)}.png", b"x" * 700_000)
                stored.append(f"f/{len(stored)}.png")

        with pytest.raises(StorageError, match=r"S3 answered InternalError$"):
            fill()

        assert stored
        assert storage.get("f/0.png") == b"x" * 700_000
        with pytest.raises(FileMissing):
            storage.locate(f"f/{len(stored)}.png")


def test_worker_survives_s3_outage(stopped_s3: S3Server, connection) -> None:
    """An image that cannot be stored fails its prediction, retryable, with the reason and no output. The next one succeeds."""
    store = a_store(connection)
    leases = Leases(store)
    storage = open_storage(URL)
    ended = {}
    for prediction_id in ("p", "q"):
        publisher = Publisher(store, storage, leases, pause_s=0.001)
        store.add(a_prediction(prediction_id))
        claimed = store.change(prediction_id, lambda p, now: p.claim("a", now))
        publisher.publish(Lease(prediction=claimed, owner="a"), a_result())
        publisher.close()
        ended[prediction_id] = store.get(prediction_id)
        if not stopped_s3.is_running:
            stopped_s3.start()
    failure = ended["p"].failure

    assert failure is not None
    assert (failure.cause, failure.is_retryable) == (Cause.STORAGE, True)
    assert failure.message == "could not store p/a/0.png: S3 cannot be reached"
    assert ended["p"].outputs == ()
    assert ended["q"].status is Status.SUCCEEDED
    assert storage.get(ended["q"].outputs[0].key).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "S3 answered SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "S3 answered InvalidAccessKeyId"),
        (KEYLESS, "there are no keys for S3; set AWS_ACCESS_KEY_ID"),
    ],
)
def test_invalid_credentials_are_reported(
    variables: pytest.MonkeyPatch, changed, message: str
) -> None:
    """The error says why the server refuses the keys, and contains none of them."""
    for name, value in changed.items():
        variables.delenv(name) if value is None else variables.setenv(name, value)
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(URL).put("k/0.png", b"x")

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "variable", [("AWS_ENDPOINT_URL", "nonsense"), ("AWS_ALLOW_HTTP", "perhaps")]
)
def test_invalid_variable_is_refused(variables: pytest.MonkeyPatch, variable) -> None:
    """An invalid endpoint or switch is refused when the process starts."""
    variables.setenv(*variable)
    with pytest.raises(ValueError, match=r"^STORAGE_URL, AWS_\*: [^\n]*$"):
        open_storage(URL)


@pytest.mark.usefixtures("variables")
def test_presigned_url_opens_one_file_with_one_method(own_s3: S3Server) -> None:
    """The URL expires after an hour, has the file's type, and opens nothing else: no other file, method or listing."""
    storage = open_storage(URL)
    for key in ("u/0.png", "u/1.png"):
        storage.put(key, b"x")
    url = str(storage.locate("u/0.png"))
    with httpx.Client(trust_env=False) as anybody:
        response = anybody.get(url)
        refused = [
            anybody.get(url.replace("u/0.png", "u/1.png")),
            anybody.get(url.replace("Expires=3600", "Expires=7200")),
            anybody.put(url, content=b"y"),
            anybody.delete(url),
            anybody.get(url.partition("?")[0]),
            anybody.get(f"{own_s3.url}/klein/"),
        ]

        assert (response.content, response.headers["content-type"]) == (b"x", "image/png")
        assert "immutable" in response.headers["cache-control"]
        assert "X-Amz-Expires=3600" in url
        assert [answer.status_code for answer in refused] == [403] * 6
        assert anybody.head(str(storage.locate("u/0.png", "HEAD"))).headers["content-length"] == "1"


@pytest.mark.usefixtures("variables")
def test_public_endpoint_signs_urls() -> None:
    """URLs are signed for the public endpoint, while klein uses its own. The page's policy allows images from there."""
    storage = open_storage(URL, "https://files.example:8443/")
    storage.put("e/0.png", b"x")

    assert str(storage.locate("e/0.png")).startswith(
        "https://files.example:8443/klein/faults/e/0.png?X-Amz-"
    )
    assert storage.origin == "https://files.example:8443"
    assert "blob: https://files.example:8443;" in open_page(storage.origin).policy

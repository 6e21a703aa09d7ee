"""klein with its files in S3: the api redirects readers to S3 or proxies the files, and S3 may fail."""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import httpx
import pytest

from tests.support import processes
from tests.support.api_client import EDIT, create, get, image_file, order, run, until
from tests.support.klein_server import Klein, running_klein
from tests.support.s3_server import S3Server, running_s3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
BUCKET = "s3://klein/accepted"
PNG = image_file()


@pytest.fixture(scope="module")
def own_s3() -> Iterator[S3Server]:
    """A server that the tests of this file may harm."""
    with running_s3() as server:
        yield server


@pytest.fixture(scope="module")
def presigning(own_s3: S3Server, tiny_weights: Path) -> Iterator[Klein]:
    with running_klein(
        tiny_weights, STORAGE_URL=BUCKET, KLEIN_FILE_URLS="presigned", **own_s3.environ
    ) as klein:
        yield klein


@pytest.fixture(scope="module")
def proxying(own_s3: S3Server, tiny_weights: Path) -> Iterator[Klein]:
    """A system whose readers cannot reach the S3 endpoint."""
    with running_klein(
        tiny_weights,
        STORAGE_URL=BUCKET,
        KLEIN_S3_PUBLIC_URL="http://nowhere.invalid",
        **own_s3.environ,
    ) as klein:
        yield klein


@pytest.fixture
def anybody() -> Iterator[httpx.Client]:
    """A client without a key that does not follow redirects."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def download(url: str) -> bytes:
    """Download a URL with Python's standard client."""
    with build_opener(ProxyHandler({})).open(url) as answer:
        data: bytes = answer.read()
    return data


def policy_of(klein: Klein, anybody: httpx.Client) -> str:
    return anybody.get(f"{klein.url}/").headers["content-security-policy"]


def test_image_url_redirects_to_s3(
    presigning: Klein, own_s3: S3Server, anybody: httpx.Client
) -> None:
    """An image's URL redirects to a presigned one. A plain client gets the image, and the page may show it."""
    with presigning.client() as client:
        url = run(client)["output"]
        again = run(client, EDIT, image_urls=[url])
    sent_on = anybody.get(url)

    assert (sent_on.status_code, sent_on.content) == (307, b"")
    assert sent_on.headers["location"].startswith(f"{own_s3.url}/klein/accepted/")
    assert "X-Amz-Expires=3600" in sent_on.headers["location"]
    assert download(url).startswith(b"\x89PNG")
    assert download(again["output"]).startswith(b"\x89PNG")
    assert int(anybody.head(url, follow_redirects=True).headers["content-length"]) == len(
        download(url)
    )
    assert anybody.get(url.replace("signature=", "signature=0")).status_code == 404
    assert own_s3.url in policy_of(presigning, anybody)


def test_image_url_proxies_s3(proxying: Klein, own_s3: S3Server, anybody: httpx.Client) -> None:
    """An image's URL returns the image itself, whole or a range, or 304 for its ETag. No header names S3."""
    with proxying.client() as client:
        url = run(client)["output"]
    whole = anybody.get(url)
    etag = whole.headers["etag"]
    not_modified = anybody.get(url, headers={"If-None-Match": etag})
    part = anybody.get(url, headers={"Range": "bytes=1-3"})
    flood = anybody.get(url, headers={"Range": "bytes=" + ",".join(["0-"] * 999)})
    head = anybody.head(url)

    assert whole.status_code == 200
    assert whole.content.startswith(b"\x89PNG")
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert (not_modified.status_code, not_modified.content, not_modified.headers["etag"]) == (
        304,
        b"",
        etag,
    )
    assert (part.status_code, part.content) == (206, b"PNG")
    assert flood.content == whole.content
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(whole.content)
    beyond = anybody.get(url, headers={"Range": "bytes=99999999-"})
    assert (beyond.status_code, beyond.json()["error"]) == (416, "range not satisfiable")
    assert anybody.get(url, headers={"Range": "lines=0-1"}).content == whole.content
    assert anybody.get(url.replace("signature=", "signature=0")).status_code == 404
    assert own_s3.url not in policy_of(proxying, anybody)


@pytest.mark.parametrize("mode", ["presigning", "proxying"])
def test_upload_is_stored_in_s3(mode: str, request: pytest.FixtureRequest) -> None:
    """An upload is served at its public URL, works as an input, and is gone once its key deletes it."""
    klein: Klein = request.getfixturevalue(mode)
    with klein.client() as client:
        slot = client.post("/v1/upload/presign", json={"content_type": "image/png"}).json()
        sent = httpx.put(slot["presigned_url"], content=PNG, trust_env=False)
        assert sent.status_code == 200, sent.text
        url = slot["public_url"]
        assert download(url) == PNG
        run(client, EDIT, image_urls=[url])
        assert client.delete(f"/v1/files/{slot['id']}").status_code == 204
        refused = client.post("/v1/prediction", json=order(EDIT, image_urls=[url]))

        assert refused.status_code == 400
        assert client.get(url).status_code == 404


@pytest.mark.parametrize("mode", ["presigning", "proxying"])
def test_s3_outage(
    mode: str, request: pytest.FixtureRequest, own_s3: S3Server, anybody: httpx.Client
) -> None:
    """While S3 is dead files are a 503 and a prediction ends as an error with the reason. Then everything works again."""
    klein: Klein = request.getfixturevalue(mode)
    with klein.client() as client:
        url = run(client)["output"]
        own_s3.kill()
        try:
            away = anybody.get(url)
            ended = get(client, create(client), wait=60)
        finally:
            own_s3.start()
        later = run(client)["output"]

    assert (away.status_code, "retry-after" in away.headers) == (503, True)
    assert own_s3.url not in away.text
    assert ended["status"] == "error"
    assert "S3 cannot be reached" in str(ended)
    assert own_s3.url.removeprefix("http://") not in str(ended)
    assert download(url).startswith(b"\x89PNG")
    assert download(later).startswith(b"\x89PNG")


def test_short_s3_outage_is_retried(presigning: Klein, own_s3: S3Server) -> None:
    """If S3 hangs for a moment while an image is stored, the end is delayed, and no attempt is counted."""
    with presigning.client() as client:
        own_s3.pause()
        try:
            prediction_id = create(client)
            until(lambda: get(client, prediction_id)["status"] == "processing")
            meanwhile = get(client, prediction_id, wait=2)
        finally:
            own_s3.go_on()
        ended = get(client, prediction_id, wait=60)

    assert meanwhile["status"] == "processing"
    assert ended["status"] == "success"
    assert download(ended["output"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, f"{BUCKET} stores and returns files"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "S3 answered SignatureDoesNotMatch"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "S3 cannot be reached"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "STORAGE_URL, AWS_*: "),
    ],
)
def test_doctor_checks_s3(
    presigning: Klein, own_s3: S3Server, changed: dict[str, str], message: str
) -> None:
    """`klein doctor` says that S3 accepts files, or why it does not."""
    completed = processes.run(
        [sys.executable, "-m", "app.cli", "doctor"],
        env=presigning.environ | own_s3.environ | changed,
    )
    row = next(line for line in completed.stdout.splitlines() if " storage " in line)

    assert message in row
    assert ("problem" in row) == bool(changed)
    assert "Traceback" not in completed.stderr

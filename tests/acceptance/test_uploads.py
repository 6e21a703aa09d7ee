"""Uploads from a client's view: presign, PUT, use as an input, delete."""

from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import processes
from tests.support.api_client import EDIT, data_uri, fetch, image_file, order, run

PNG = image_file()
HUNDRED_MB = 100 * 1024 * 1024


@pytest.fixture
def anybody() -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(trust_env=False) as client:
        yield client


def presign(client: httpx.Client, **body: Any) -> Any:
    answer = client.post("/v1/upload/presign", json={"content_type": "image/png"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def upload(client: httpx.Client, data: bytes = PNG) -> Any:
    """Send a file as the contract says, without a key."""
    slot = presign(client, file_type="file")
    answer = httpx.put(
        slot["presigned_url"], content=data, headers=slot["required_headers"], trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return slot


def test_upload_works_as_input(client: httpx.Client) -> None:
    """The public URL serves the file as sent, and as an input it gives the same result as its bytes."""
    slot = upload(client)

    by_url = run(client, EDIT, image_urls=[slot["public_url"]], seed=2)
    by_bytes = run(client, EDIT, image_urls=[data_uri(PNG)], seed=2)

    assert fetch(slot["public_url"]) == PNG
    assert fetch(by_url["output"]) == fetch(by_bytes["output"])


def test_png_with_html_is_served_as_png(client: httpx.Client) -> None:
    """A PNG with HTML appended is served as a PNG, which no browser may sniff or run."""
    slot = upload(client, PNG + b"<html><script>alert(1)</script>")
    headers = httpx.get(slot["public_url"], trust_env=False).headers

    assert headers["Content-Type"] == "image/png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; sandbox")


def test_curl_example_uploads_file(client: httpx.Client, tmp_path: Path) -> None:
    """The README's curl command sends a file."""
    slot = presign(client)
    file = tmp_path / "in.png"
    file.write_bytes(PNG)
    header = f"x-amz-meta-file-id: {slot['id']}"

    processes.run(["curl", "-sf", "-T", str(file), "-H", header, slot["presigned_url"]], check=True)

    assert fetch(slot["public_url"]) == PNG


def test_deleted_upload_is_404(
    client: httpx.Client, other_client: httpx.Client, anybody: httpx.Client
) -> None:
    """Only its key deletes an upload. Then its URL is a 404, as an input a 400, and it cannot be sent again."""
    slot = upload(client)
    assert other_client.delete(f"/v1/files/{slot['id']}").status_code == 204
    assert fetch(slot["public_url"]) == PNG
    for _ in range(2):
        assert client.delete(f"/v1/files/{slot['id']}").status_code == 204

    assert anybody.get(slot["public_url"]).status_code == 404
    refused = client.post("/v1/prediction", json=order(EDIT, image_urls=[slot["public_url"]]))
    assert (refused.status_code, refused.json()["details"][0]["field"]) == (400, "image_urls[0]")
    assert anybody.put(slot["presigned_url"], content=PNG).status_code == 404


def test_uploads_need_key(anybody: httpx.Client, client: httpx.Client) -> None:
    """Presign and DELETE without a key are a 401, and a malformed id is a 400."""
    base = client.base_url
    assert anybody.post(f"{base}/v1/upload/presign", json={}).status_code == 401
    assert anybody.delete(f"{base}/v1/files/x").status_code in {400, 401}
    assert client.delete("/v1/files/x").status_code == 400


def test_content_length_over_limit_is_413(client: httpx.Client) -> None:
    """A Content-Length above 100 MB is a 413 before the body is sent."""
    slot = presign(client)
    url = urlsplit(slot["presigned_url"])
    with closing(HTTPConnection(url.netloc)) as connection:
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", str(HUNDRED_MB + 1))
        connection.endheaders()

        assert connection.getresponse().status == 413


def test_body_over_limit_is_413(client: httpx.Client) -> None:
    """A body without Content-Length is a 413 at its hundredth megabyte, and is not stored."""
    slot = presign(client)
    part = bytes(1024 * 1024)

    def parts() -> Iterator[bytes]:
        yield PNG
        for _ in range(101):
            yield part

    with suppress(httpx.WriteError):  # the server may close the connection during the upload
        assert httpx.put(slot["presigned_url"], content=parts(), trust_env=False).status_code == 413

    assert httpx.get(slot["public_url"], trust_env=False).status_code == 404


def test_uploaded_file_is_immutable(client: httpx.Client) -> None:
    """The public URL says `immutable`. A different file is a 409 that says what to do, the same one again a 200."""
    slot = upload(client)
    other = image_file(colour="red")
    answers = [httpx.put(slot["presigned_url"], content=c, trust_env=False) for c in (PNG, other)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["error"] == "conflict"
    assert "request a new URL" in answers[1].json()["details"]
    response = httpx.get(slot["public_url"], trust_env=False)
    assert (response.content, "immutable" in response.headers["Cache-Control"]) == (PNG, True)


def test_read_url_does_not_write(client: httpx.Client, anybody: httpx.Client) -> None:
    """The public URL accepts no file, the presigned one returns none, and a changed one does neither."""
    slot = upload(client)

    assert anybody.put(slot["public_url"], content=PNG).status_code == 404
    assert anybody.get(slot["presigned_url"]).status_code == 404
    for old, new in (("signature=", "signature=0"), ("expires=", "expires=9"), (".png", ".jpg")):
        changed = slot["presigned_url"].replace(old, new, 1)
        assert anybody.put(changed, content=PNG).status_code == 404
    other = {"x-amz-meta-file-id": "another"}
    assert anybody.put(slot["presigned_url"], content=PNG, headers=other).status_code == 400

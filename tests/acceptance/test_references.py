"""Reference images of an edit: accepted ones, and those refused by name."""

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from tests.support.api_client import EDIT, data_uri, fetch, image_file, order, pixels, run
from tests.support.klein_server import Klein

PNG = image_file()
BASE_EDIT = "flux-2-klein-4b-base-edit"


@pytest.fixture(scope="module")
def image_host() -> Iterator[str]:
    """The base URL of a third party's web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hops = self.path.count("moved")
            self.send_response(302 if hops else 200)
            self.send_header("Location", "/moved" * (hops - 1) + "/a.png")
            self.end_headers()
            self.wfile.write(PNG if self.path == "/a.png" else b"<html>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_edit_takes_one_to_four_data_uris(client: httpx.Client, count: int) -> None:
    """An edit of one to four data URIs has the requested size."""
    urls = [data_uri(image_file(64 + 16 * k, 64)) for k in range(count)]

    ended = run(client, EDIT, image_urls=urls, image_size={"width": 96, "height": 64})

    assert pixels(ended["output"]).shape == (64, 96, 3)


def test_edit_has_size_of_first_image(client: httpx.Client) -> None:
    """Without an image_size the image has the size of the first reference."""
    urls = [data_uri(image_file(128, 96)), data_uri(image_file(64, 64))]

    ended = run(client, EDIT, image_urls=urls, image_size=None)

    assert pixels(ended["output"]).shape == (96, 128, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_still_formats_are_accepted(client: httpx.Client, kind: str) -> None:
    """PNG, JPEG and WebP are accepted, whatever type the data URI declares."""
    assert run(client, EDIT, image_urls=[data_uri(image_file(kind=kind))])["output"]


def test_data_uri_is_shown_as_url(client: httpx.Client) -> None:
    """In the record a reference that came as a data URI is the URL of the stored file."""
    ended = run(client, EDIT, image_urls=[data_uri(PNG)])

    prediction = client.get(f"/v1/prediction/{ended['predictionID']}").json()
    assert fetch(prediction["input"]["image_urls"][0]) == PNG


def test_own_output_is_accepted(client: httpx.Client) -> None:
    """The URL of an output works as a reference, and gives the same result as its bytes."""
    first = run(client, seed=1)["output"]

    by_url = run(client, EDIT, image_urls=[first], seed=2)
    by_bytes = run(client, EDIT, image_urls=[data_uri(fetch(first))], seed=2)

    assert fetch(by_url["output"]) == fetch(by_bytes["output"])


@pytest.mark.parametrize("path", ["/a.png", "/moved" * 3 + "/a.png"])
def test_allowed_host_is_fetched(varied_client: httpx.Client, image_host: str, path: str) -> None:
    """An image at a host of KLEIN_ALLOW_HOSTS gives the same result as its bytes, up to three redirects away."""
    urls = [image_host + path]

    by_url = run(varied_client, BASE_EDIT, image_urls=urls, seed=3, num_inference_steps=2)
    by_bytes = run(
        varied_client, BASE_EDIT, image_urls=[data_uri(PNG)], seed=3, num_inference_steps=2
    )

    # not the bytes: this system signs its images
    assert (pixels(by_url["output"]) == pixels(by_bytes["output"])).all()


@pytest.mark.parametrize("path", ["/moved" * 4 + "/a.png", "/page.html"])
def test_allowed_host_must_return_image(
    varied_client: httpx.Client, image_host: str, path: str
) -> None:
    """A fourth redirect is not followed and a page is not an image: 400."""
    body = order(BASE_EDIT, image_urls=[image_host + path])

    answer = varied_client.post("/v1/prediction", json=body)

    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == "image_urls[0]"


def test_base64_whitespace_is_accepted(klein: Klein, client: httpx.Client) -> None:
    """Base64 broken into lines, as mail programs write it, is accepted."""
    uri = "data:image/png;base64," + base64.encodebytes(PNG).decode()

    assert run(client, EDIT, image_urls=[uri])["output"].startswith(klein.url)

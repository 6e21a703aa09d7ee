"""Files that the api proxies, in front of a web server that handles `Range` as HTTP allows."""

from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response

from app.api.proxy import open_proxy, proxy_response
from tests.support.webhook_receiver import running_receiver, status

FILE = b"\x89PNG the whole file"


def upstream(handler: BaseHTTPRequestHandler) -> None:
    """Answer one range with its bytes, and several with a multipart body, as RFC 9110 specifies."""
    requested_range = handler.headers.get("Range", "")
    if "," in requested_range:
        kind = {"Content-Type": "multipart/byteranges; boundary=b"}
        return status(206, b"--b\r\nContent-Range: bytes 0-0/19\r\n\r\n\x89", **kind)(handler)
    return status(206, FILE[:4])(handler) if requested_range else status(200, FILE)(handler)


@pytest.fixture
async def reader() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an api that proxies the web server's files."""
    app = FastAPI()
    with running_receiver(upstream) as server, open_proxy() as proxy:

        def read(request: Request) -> Response:
            return proxy_response(proxy, request, server.url, {"Content-Type": "image/png"})

        app.add_api_route("/files/{key}", read)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://klein") as client:
            yield client


async def test_range_is_forwarded(reader: httpx.AsyncClient) -> None:
    """A single range is forwarded unchanged."""
    answer = await reader.get("/files/p.png", headers={"Range": "bytes=0-3"})

    assert (answer.status_code, answer.content) == (206, FILE[:4])


@pytest.mark.parametrize("ranges", ["bytes=0-0,2-3", "bytes=" + ",".join(["0-"] * 999)])
async def test_several_ranges_get_whole_file(reader: httpx.AsyncClient, ranges: str) -> None:
    """A multipart body is never served as the image's own type, and many ranges cost no more than the file."""
    answer = await reader.get("/files/p.png", headers={"Range": ranges})

    assert (answer.status_code, answer.content) == (200, FILE)
    assert answer.headers["Content-Type"] == "image/png"

"""The download of stored files, without a storage."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse

from app.api import files
from app.own_threads import OwnThreads
from app.storage.links import Links
from app.storage.local import LocalStorage

LINKS = Links("secret")


def client_of(locate_file):
    app = FastAPI(openapi_url=None)
    app.state.api = SimpleNamespace(
        links=LINKS,
        service=SimpleNamespace(locate_file=locate_file),
        proxy=None,
        file_threads=OwnThreads("test", 2),
    )
    app.router.routes.extend(files.router.routes)
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://klein")


def url_of(key):
    return LINKS.link("", key, datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize("name", ["0.png", "notes.txt", "files.tar.gz", "nameless"])
async def test_headers_are_those_of_a_file_response(tmp_path, name):
    """Type, length, date and ETag of a small file are those which Starlette writes."""
    (tmp_path / name).write_bytes(b"content")
    storage = LocalStorage(tmp_path)
    expected = FileResponse(tmp_path / name, stat_result=(tmp_path / name).stat()).raw_headers
    async with client_of(storage.locate) as client:
        response = await client.get(url_of(name))

    assert response.content == b"content"
    headers = [(key.lower(), value) for key, value in response.headers.raw]
    assert sorted(set(headers) & set(expected)) == sorted(expected)


async def test_hung_disk_does_not_stop_others(tmp_path):
    """While the disk hangs for one download, another one is served."""
    (tmp_path / "0.png").write_bytes(b"content")
    storage, release = LocalStorage(tmp_path), threading.Event()

    def locate(key, method):
        if key == "hung.png":
            release.wait(5)
        return storage.locate(key, method)

    async with client_of(locate) as client:
        hung = asyncio.create_task(client.get(url_of("hung.png")))
        await asyncio.sleep(0)
        response = await client.get(url_of("0.png"))
        was_hung = not hung.done()
        hung.cancel()
        release.set()

    assert (response.status_code, was_hung) == (200, True)

"""Tests of the limits for what callers' images hold of a process: fetches, and temporary files."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from app.images.check import ImageInfo
from app.images.scratch import Scratch, ScratchFull
from app.images.source import FETCHES, FETCHES_PER_KEY, ImageRequest, ImageSource
from app.safe_http import Reply
from app.storage.links import Links
from app.storage.local import LocalStorage

REPLY = Reply(status=200, is_encoded=False, body=b"", is_whole=True)


class SlowHosts:
    """Hosts that reply when the test says so. It counts the fetches that go on, by key."""

    def __init__(self):
        self.reply = asyncio.Event()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def send(self, _method, _url, *, owner, **_options):
        self.now.update([owner])
        self.most[owner] = max(self.most[owner], self.now[owner])
        await self.reply.wait()
        self.now.subtract([owner])
        return REPLY


class AcceptingDecoders:
    async def check(self, _path, _key_id, **_options):
        return ImageInfo(format="png", width=64, height=64)


async def test_fetches_are_limited_per_key_and_in_all(tmp_path):
    """However many images the keys name, a process fetches only so many at once, and fewer for each key."""
    hosts, scratch = SlowHosts(), Scratch()
    parts: Any = hosts, AcceptingDecoders()
    source = ImageSource(LocalStorage(tmp_path), Links("secret"), *parts)
    urls = [ImageRequest(url=f"http://host-{k}.test/a.png") for k in range(FETCHES_PER_KEY + 4)]

    async def read(key):
        with scratch.folder(key) as folder:
            return await source.read_all(urls, {}, folder, key)

    reading = [asyncio.create_task(read(key)) for key in "abcde"]
    for _ in range(1000):  # by then every fetch that may begin has begun
        await asyncio.sleep(0)
    at_once = hosts.now.total()
    hosts.reply.set()
    results = await asyncio.gather(*reading)
    scratch.close()

    assert FETCHES // 2 < at_once <= FETCHES
    assert max(hosts.most.values()) == FETCHES_PER_KEY
    assert all(len(images) == len(urls) for images in results)


@pytest.mark.parametrize(
    ("most", "others", "fits"), [(200, 0, 60), (100, 90, 10)], ids=["of one key", "in all"]
)
def test_temporary_files_are_limited(most, others, fits):
    """One key, and all keys together, have only so many bytes in temporary files. Deleted ones no longer count."""
    scratch = Scratch(max_bytes=most, max_bytes_per_owner=60)
    with scratch.folder("other") as other, scratch.folder("another") as another:
        other.write(bytes(others // 2))
        another.write(bytes(others // 2))
        with scratch.folder("key") as folder:
            folder.write(bytes(fits))
            with pytest.raises(ScratchFull):
                folder.write(b"x")
        with scratch.folder("key") as folder:
            folder.write(bytes(fits))
    scratch.close()

"""Tests of reading lists in threads of their own."""

import asyncio
import threading

from app.predictions.read_slots import ReadSlots


async def test_key_reads_one_list_at_once():
    """While a list of a key is read, the key's next one waits, and another key's is read."""
    slots, release, began = ReadSlots(), threading.Event(), []
    has_begun = threading.Event()

    def read(name):
        began.append(name)
        if name == "first":
            has_begun.set()
            release.wait()
        return name

    first = asyncio.create_task(slots.read("key", lambda: read("first")))
    second = asyncio.create_task(slots.read("key", lambda: read("second")))
    await asyncio.to_thread(has_begun.wait)
    await slots.read("another key", lambda: read("other"))
    began_meanwhile = list(began)
    release.set()

    assert [await first, await second] == ["first", "second"]
    assert began_meanwhile == ["first", "other"]

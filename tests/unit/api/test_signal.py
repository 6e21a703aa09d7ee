"""The flag on which the tasks of a connection wait: like `asyncio.Event`, which takes more memory."""

import asyncio

import pytest

from app.api.signal import Signal


@pytest.mark.parametrize("kind", [Signal, asyncio.Event])
async def test_set_wakes_all(kind):
    """All that wait are woken together."""
    signal = kind()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    signal.set()
    signal.clear()

    await asyncio.gather(*waiting)


@pytest.mark.parametrize("kind", [Signal, asyncio.Event])
async def test_wait_for_what_is_set_returns(kind):
    """Nobody waits for a flag that is set, and everybody for one that was cleared."""
    signal = kind()
    signal.set()
    await signal.wait()
    signal.clear()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)

    assert not waiting.done()
    signal.set()
    await waiting


@pytest.mark.parametrize("kind", [Signal, asyncio.Event])
async def test_cancelled_wait_keeps_the_others(kind):
    """A task that stops waiting is forgotten, also when the flag is set at the same time, and another one is woken."""
    signal = kind()
    leaves, stays = [asyncio.create_task(signal.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    leaves.cancel()
    signal.set()

    await stays
    assert leaves.cancelled() or leaves.cancelling()


async def test_begins_as_it_is_told():
    """A signal may be set from its start."""
    await Signal(is_set=True).wait()

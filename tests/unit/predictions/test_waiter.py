"""Pauses of one caller: a wake-up is never lost, and ends one pause."""

import asyncio

import pytest

from app.predictions.waiter import Waiter

FAR_S = 3600.0


@pytest.fixture
def waiter():
    return Waiter()


async def test_wake_ends_pause(waiter):
    """A wake-up during a pause ends it."""
    asyncio.get_running_loop().call_soon(waiter.wake)

    assert await waiter.pause(FAR_S)


async def test_wake_between_pauses_ends_the_next_one(waiter):
    """A wake-up outside of a pause ends the next pause at once, and no other."""
    waiter.wake()

    assert await waiter.pause(FAR_S)
    assert not await waiter.pause(0)


async def test_several_wakes_end_one_pause(waiter):
    """Wake-ups that come together count once."""
    for _ in range(3):
        asyncio.get_running_loop().call_soon(waiter.wake)

    assert await waiter.pause(FAR_S)
    assert not await waiter.pause(0)


async def test_wake_at_the_limit_is_not_lost(waiter):
    """A wake-up in the same turn of the event loop as the time limit counts."""
    pausing = asyncio.create_task(waiter.pause(0))
    await asyncio.sleep(0)  # it begins
    await asyncio.sleep(0)  # its limit is over
    waiter.wake()

    assert await pausing


async def test_pause_ends_at_its_limit(waiter):
    """Nobody wakes the caller: the pause takes its time."""
    assert not await waiter.pause(0.001)


async def test_idle_ends_the_wait(waiter):
    """What the caller awaits meanwhile may raise."""

    async def leave():
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await waiter.pause(FAR_S, leave)
    waiter.wake()

    assert await waiter.pause(FAR_S)


async def test_cancelled_pause_can_be_woken(waiter):
    """A cancellation ends a pause, also beside a wake-up. A later wake-up is for the next pause."""
    pausing = asyncio.create_task(waiter.pause(FAR_S))
    await asyncio.sleep(0)
    waiter.wake()
    pausing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pausing

    assert await waiter.pause(FAR_S)


async def test_each_waits_in_its_callers_task(waiter):
    """A pause takes no task of its own, which costs each request that waits 1 KB."""
    pausing = asyncio.create_task(waiter.pause(FAR_S))
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == {asyncio.current_task(), pausing}
    waiter.wake()
    await pausing

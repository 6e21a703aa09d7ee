"""Tests of blocking calls in threads of their own."""

import asyncio
import threading

import pytest

from app.own_threads import OwnThreads


def fail() -> None:
    raise ValueError("of the call")


async def test_call_returns_or_raises():
    """A call in another thread returns its value, or raises its error."""
    threads = OwnThreads("test", 1)
    ident = await threads.run(threading.get_ident)

    assert ident != threading.get_ident()
    with pytest.raises(ValueError, match="of the call"):
        await threads.run(fail)
    assert await threads.run(max, 1, 2) == 2


async def test_calls_over_the_limit_wait():
    """At the limit a call waits until a thread is idle. One whose caller is cancelled meanwhile does not run."""
    threads, release = OwnThreads("test", 2), threading.Event()
    ran: list[int] = []
    stuck = [asyncio.create_task(threads.run(release.wait)) for _ in range(2)]
    waiting = [asyncio.create_task(threads.run(ran.append, number)) for number in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    before = list(ran)
    release.set()
    await asyncio.wait([*stuck, *waiting])

    assert (before, ran) == ([], [0, 2])
    assert waiting[1].cancelled()


async def test_cancelled_caller_leaves_a_call_that_has_begun():
    """A caller that is cancelled ends at once, and the thread is used again after its call."""
    threads, began, release = OwnThreads("test", 1), threading.Event(), threading.Event()
    problems = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, problem: problems.append(problem)
    )

    def stick() -> None:
        began.set()
        release.wait()

    caller = asyncio.create_task(threads.run(stick))
    await asyncio.to_thread(began.wait)
    caller.cancel()
    await asyncio.wait([caller])
    release.set()

    assert caller.cancelled()
    assert await threads.run(max, 1, 2) == 2
    assert problems == []

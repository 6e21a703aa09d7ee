"""Runs the blocking calls of an event loop in daemon threads of their own, so that stuck ones leave the shared threads free."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from app.daemon_threads import DaemonThreads

T = TypeVar("T")


class OwnThreads:
    """At most `limit` threads, for one event loop. Further calls wait for one of them, in order."""

    def __init__(self, name: str, limit: int) -> None:
        self._threads = DaemonThreads(name, limit)

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what a call returns. Raises what it raises. If the caller is cancelled, a call that has begun goes on."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            if outcome.cancelled():
                return
            finish: tuple[Callable[[Any], None], Any]
            try:
                finish = outcome.set_result, call(*arguments)
            except BaseException as exc:  # noqa: BLE001 -- raised again by the caller
                finish = outcome.set_exception, exc
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(_finish, outcome, *finish)

        self._threads.run(work)
        return await outcome


def _finish(outcome: "asyncio.Future[Any]", finish: Callable[[Any], None], value: object) -> None:
    if not outcome.cancelled():
        finish(value)

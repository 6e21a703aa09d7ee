"""Pauses one caller until somebody wakes it. Knows no predictions."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Idle = Callable[[], Awaitable[object]]
"""What a caller awaits while it is paused. It may raise, to end the wait."""


def until_woken() -> Awaitable[object]:
    """Do nothing while the caller is paused."""
    return asyncio.get_running_loop().create_future()


class Waiter:
    """An event for one caller. It takes no task and no queue of its own, which were 4 KB of each request that waits."""

    __slots__ = ("_is_woken", "_pause")

    def __init__(self) -> None:
        self._is_woken = False
        self._pause: asyncio.Timeout | None = None  # during a pause

    def wake(self) -> None:
        """End the pause of the caller, or else its next one at once."""
        self._is_woken = True
        if self._pause is not None and not self._pause.expired():
            self._pause.reschedule(asyncio.get_running_loop().time())

    async def pause(self, max_s: float, idle: Idle = until_woken) -> bool:
        """Wait until the caller is woken, and return whether it was in time, since the pause before."""
        if not self._is_woken:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max_s) as self._pause:
                        await idle()
            finally:
                self._pause = None
        was_woken, self._is_woken = self._is_woken, False
        return was_woken

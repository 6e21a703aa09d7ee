"""Resolves host names with a timeout, which the system resolver does not have, and with slots per owner.

The system resolver is used because it also reads /etc/hosts, search domains and nsswitch.conf. A stuck look-up cannot be
stopped, so it holds a slot of its owner until it returns.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from app.daemon_threads import DaemonThreads
from app.fair_slots import FairSlots

LOOKUP_S = 5.0
MAX_PENDING = 32  # look-ups, stuck ones included, before new ones are refused
MAX_PENDING_PER_OWNER = 8
SLOT_CHECK_S = 0.05  # while a look-up waits for a slot

Answers = list[Any]


class LookupsBusy(Exception):
    """Too many host names of this key are being resolved; try again later."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class DnsLookup:
    """Calls `socket.getaddrinfo` in threads of its own, with a timeout."""

    def __init__(
        self,
        within_s: float = LOOKUP_S,
        max_pending: int = MAX_PENDING,
        max_pending_per_owner: int = MAX_PENDING_PER_OWNER,
        look_up: Callable[..., Iterable[Any]] = socket.getaddrinfo,
    ) -> None:
        self._within_s = within_s
        self._slots = FairSlots(max_pending, max_pending_per_owner)
        self._look_up = look_up
        self._threads = DaemonThreads("lookup")

    async def __call__(self, owner: str, *arguments: Any, is_waiting: bool = False) -> Answers:
        """Resolve a name. `arguments` are those of `getaddrinfo`.

        Raises OSError, also after the timeout, and LookupsBusy where the owner has no slot: at once, or where `is_waiting`
        after the timeout.
        """
        try:
            async with asyncio.timeout(self._within_s):
                while not self._slots.take(owner):
                    if not is_waiting:
                        raise LookupsBusy
                    await asyncio.sleep(SLOT_CHECK_S)
        except TimeoutError:
            raise LookupsBusy from None
        async with asyncio.timeout(self._within_s):
            return await asyncio.wrap_future(self._start(owner, arguments))

    def _start(self, owner: str, arguments: tuple[Any, ...]) -> "Future[Answers]":
        future: Future[Answers] = Future()
        future.set_running_or_notify_cancel()  # the slot is held until the look-up returns

        def run() -> None:
            try:
                addresses = list(self._look_up(*arguments))
            except Exception as exc:  # noqa: BLE001 -- raised again where it is awaited
                self._slots.release(owner)
                future.set_exception(exc)
            else:
                self._slots.release(owner)
                future.set_result(addresses)

        try:
            self._threads.run(run)
        except RuntimeError as exc:  # the process has as many threads as it may
            self._slots.release(owner)
            raise OSError("no thread for a look-up") from exc
        return future

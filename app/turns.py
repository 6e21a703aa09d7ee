"""Gives waiting owners their turns at a fixed number of slots, so that a few owners cannot hold all. Use it on one event loop."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from app.fair_slots import FairSlots


class NoTurn(Exception):
    """Too many requests of this key are waiting; try again later."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Turns:
    """Shares slots between owners, as FairSlots does. Waiting owners are served in turn."""

    def __init__(self, slots: int, per_owner: int, within_s: float | None) -> None:
        """Set how long an owner waits for a slot. None means without limit."""
        self._slots = FairSlots(slots, per_owner)
        self._within_s = within_s
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None]:
        """Hold a slot while the body runs. Raises NoTurn if the owner got none in time."""
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: str) -> None:
        """Take a slot. Raises NoTurn if the owner got none in time."""
        if owner not in self._waiting and self._slots.take(owner):
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        try:
            async with asyncio.timeout(self._within_s):
                await place
        except BaseException as exc:
            if place.done() and not place.cancelled():
                self.give_back(owner)
            else:
                self._leave(owner, place)
            if isinstance(exc, TimeoutError):
                raise NoTurn from None
            raise

    def give_back(self, owner: str) -> None:
        """Give a slot back, for those that wait."""
        self._slots.release(owner)
        for other in list(self._waiting):
            while other in self._waiting and self._slots.take(other):
                place = self._waiting[other][0]
                self._leave(other, place)
                if not place.done():
                    place.set_result(None)
                    break
                self._slots.release(other)  # it is being cancelled

    def _leave(self, owner: str, place: "asyncio.Future[None]") -> None:
        """Remove a waiting place, and let the other owners go first next time."""
        places = self._waiting.get(owner)
        if places is None or place not in places:
            return
        places.remove(place)
        self._waiting.move_to_end(owner)
        if not places:
            del self._waiting[owner]


class AddressLimit:
    """Limits what one owner has in progress at one address."""

    def __init__(self, slots: int) -> None:
        self._total = slots
        self._at: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slots(self, owner: str, addresses: frozenset[str]) -> AsyncGenerator[None]:
        """Wait for a slot at each address, and hold them while the body runs."""
        async with AsyncExitStack() as stack:
            for address in sorted(addresses):  # in one order, so that nobody waits in a circle
                name = f"{owner} at {address}"
                semaphore = self._at.get(name) or asyncio.Semaphore(self._total)
                self._at[name] = semaphore
                await stack.enter_async_context(semaphore)
            yield

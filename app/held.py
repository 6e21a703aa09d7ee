"""What a request holds while it is served: it is released when the request ends, or before when it begins to wait for something."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

Release = Callable[[], None]
TakeTurn = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class _Held:
    take_turn: TakeTurn
    releases: list[Release] = field(default_factory=list)


_held: ContextVar[_Held | None] = ContextVar("held", default=None)


def begin_to_hold(take_turn: TakeTurn) -> None:
    """Begin a request that holds nothing. `take_turn` waits for another turn of its caller, and holds it."""
    _held.set(_Held(take_turn=take_turn))


def hold(release: Release) -> None:
    """Remember how something is released. Outside of a request nothing releases it."""
    if (held := _held.get()) is not None:
        held.releases.append(release)


def release_held() -> None:
    """Release what the current request holds. Call it on the event loop."""
    held = _held.get()
    while held and held.releases:
        held.releases.pop()()


async def take_turn_again() -> None:
    """Wait for another turn of the current request's caller, once what it waited for has come. Outside of a request do nothing."""
    if (held := _held.get()) is not None:
        await held.take_turn()

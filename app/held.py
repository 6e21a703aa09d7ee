"""What a request holds while it is served: it is released when the request ends, or before when it begins to wait for something."""

from collections.abc import Callable
from contextvars import ContextVar

Release = Callable[[], None]
_held: ContextVar[list[Release] | None] = ContextVar("held", default=None)


def begin_to_hold() -> None:
    """Begin a request that holds nothing."""
    _held.set([])


def hold(release: Release) -> None:
    """Remember how something is released. Outside of a request nothing releases it."""
    if (held := _held.get()) is not None:
        held.append(release)


def release_held() -> None:
    """Release what the current request holds. Call it on the event loop."""
    held = _held.get()
    while held:
        held.pop()()

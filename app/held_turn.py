"""The turn that a request holds while it is served: what begins to wait gives it back early."""

from collections.abc import Callable
from contextvars import ContextVar

_give_back: ContextVar[Callable[[], None] | None] = ContextVar("give_back", default=None)


def hold(give_back: Callable[[], None]) -> None:
    """Remember how the turn of the current request is given back; that may happen more than once."""
    _give_back.set(give_back)


def give_back_turn() -> None:
    """Give back the turn of the current request, if it has one. Call it on the event loop."""
    give_back = _give_back.get()
    if give_back is not None:
        give_back()

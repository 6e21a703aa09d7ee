"""Tells the steps of a drawing as the device gets them done, while the next one waits for it already."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class Mark(Protocol):
    """A place in what was queued for the device, such as `torch.cuda.Event`."""

    def synchronize(self) -> object:
        """Wait until the device has come so far."""


class Steps:
    """The steps of one call of the pipeline; what is told of a step is true of the device.

    At most one step is queued behind the one that the device works at: so it never waits for Python, and what
    `tell` raises, such as a cancel, stops it one step later. Where there is no `mark`, a step that was called
    is done. The last one is told on leaving, when the picture is there; after an exception it is not.
    """

    def __init__(self, tell: Callable[[int], None], mark: Callable[[], Mark] | None) -> None:
        self._tell = tell
        self._mark = mark
        self._untold: tuple[int, Mark] | None = None

    def queued(self, step: int, show: Callable[[], None] | None = None) -> None:
        """Take note of a step; `show` draws what it led to, which is seen before the step is told."""
        mark = self._mark() if self._mark is not None else None
        self._tell_last()
        if show is not None:
            show()  # it copies pixels, for which the device does all that is queued
        if mark is None or show is not None:
            self._tell(step)
        else:
            self._untold = step, mark

    def _tell_last(self) -> None:
        if self._untold is None:
            return
        (step, mark), self._untold = self._untold, None
        mark.synchronize()
        self._tell(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            self._tell_last()

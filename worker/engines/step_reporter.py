"""Reports the steps of a generation as the device finishes them."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class DeviceEvent(Protocol):
    """Marks a position in the device's queue of work, as `torch.cuda.Event` does."""

    def synchronize(self) -> object:
        """Wait until the device has reached the event."""


class StepReporter:
    """Calls `on_step` for each step of one pipeline call once the device has finished it.

    CUDA calls return before their work is done. The reporter records an event after each step and waits for the
    event of the step before, so one step is always queued ahead and the device never waits for Python.
    An exception of `on_step`, such as a cancel, therefore stops the device one step later. Without `record_event`
    (on a CPU) a step is reported at once. Leaving the context reports the last step, unless an exception was raised.
    """

    def __init__(
        self, on_step: Callable[[int], None], record_event: Callable[[], DeviceEvent] | None
    ) -> None:
        self._on_step = on_step
        self._record_event = record_event
        self._pending: tuple[int, DeviceEvent] | None = None

    def step_queued(self, step: int, send_preview: Callable[[], None] | None = None) -> None:
        """Register a step. `send_preview` runs before the step is reported."""
        event = self._record_event() if self._record_event is not None else None
        self.report_pending()
        if send_preview is not None:
            send_preview()  # copies pixels to the host, so the device finishes this step first
        if event is None or send_preview is not None:
            self._on_step(step)
        else:
            self._pending = step, event

    def report_pending(self) -> None:
        """Report the step that is queued, if there is one, once the device has finished it."""
        if self._pending is None:
            return
        (step, event), self._pending = self._pending, None
        event.synchronize()
        self._on_step(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            self.report_pending()

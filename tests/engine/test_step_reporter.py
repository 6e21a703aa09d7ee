"""When StepReporter reports each step, on a device that runs behind its queue of work."""

from functools import partial

import pytest

from worker.engines import Cancelled
from worker.engines.step_reporter import StepReporter


class Device:
    """Runs queued steps only when an event is awaited, and logs all events in order."""

    def __init__(self):
        self.log = []
        self.queue = []

    def queue_step(self, step):
        self.queue.append(step)
        self.log.append(f"queued {step}")

    def record_event(self):
        return Event(self, self.queue[-1])

    def on_step(self, step):
        assert step not in self.queue, "reported before it was done"
        self.log.append(f"reported {step}")

    def run_until(self, step):
        while step in self.queue:
            self.queue.pop(0)


class Event:
    def __init__(self, device, step):
        self.device, self.step = device, step

    def synchronize(self):
        self.device.run_until(self.step)


@pytest.fixture
def device():
    return Device()


def test_steps_are_reported_one_ahead(device):
    """Each step is reported once the next one is queued, in order, and the last one at the end."""
    with StepReporter(device.on_step, device.record_event) as reporter:
        for step in (1, 2, 3):
            device.queue_step(step)
            reporter.step_queued(step)
        device.log.append("image")

    assert device.log == [
        "queued 1", "queued 2", "reported 1", "queued 3", "reported 2", "image", "reported 3",
    ]  # fmt: skip


def test_without_events_steps_are_reported_at_once(device):
    """On a CPU each step is reported before the next one, and the last one before the image."""
    with StepReporter(device.log.append, None) as reporter:
        for step in (1, 2):
            reporter.step_queued(step)
        device.log.append("image")

    assert device.log == [1, 2, "image"]


def test_cancel_takes_effect_within_one_step(device):
    """A cancel at the first step stops the generation at the second, and nothing else is reported."""

    def cancel(step):
        device.on_step(step)
        raise Cancelled

    def generate():
        with StepReporter(cancel, device.record_event) as reporter:
            for step in (1, 2, 3):
                device.queue_step(step)
                reporter.step_queued(step)

    with pytest.raises(Cancelled):
        generate()

    assert device.log == ["queued 1", "queued 2", "reported 1"]


def test_cancel_at_last_step_is_raised(device):
    """An exception that the last report raises leaves the context."""

    def cancel(_step):
        raise Cancelled

    device.queue_step(1)
    with pytest.raises(Cancelled), StepReporter(cancel, device.record_event) as reporter:
        reporter.step_queued(1)


def test_queued_step_is_not_reported_after_error(device):
    """A step that was queued when the generation failed is not reported as done."""

    def fail():
        with StepReporter(device.on_step, device.record_event) as reporter:
            device.queue_step(1)
            reporter.step_queued(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()

    assert device.log == ["queued 1"]


def test_device_error_is_raised(device):
    """An error of the awaited event leaves the context, and its step is not reported."""

    class LostEvent(Event):
        def synchronize(self):
            raise RuntimeError("CUDA error")

    device.queue_step(1)
    with pytest.raises(RuntimeError, match="CUDA error"), StepReporter(
        device.on_step, lambda: LostEvent(device, 1)
    ) as reporter:  # fmt: skip
        reporter.step_queued(1)

    assert device.log == ["queued 1"]


def test_preview_is_sent_before_its_step_is_reported(device):
    """The preview follows the report of the step before. Its own step is then reported without a delay."""

    def send_preview(step):
        device.run_until(step)
        device.log.append(f"preview {step}")

    with StepReporter(device.on_step, device.record_event) as reporter:
        for step, has_preview in ((1, False), (2, True), (3, False)):
            device.queue_step(step)
            reporter.step_queued(step, partial(send_preview, step) if has_preview else None)

    assert device.log == [
        "queued 1", "queued 2", "reported 1", "preview 2", "reported 2", "queued 3", "reported 3",
    ]  # fmt: skip

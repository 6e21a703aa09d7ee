"""When each step of a drawing is told, on a device that works at what was queued before it."""

from functools import partial

import pytest

from worker.engines import Cancelled
from worker.engines.step_reporter import StepReporter


class Device:
    """Does what is queued only when somebody waits for it; notes what happens, in order."""

    def __init__(self):
        self.heard = []
        self.queue = []

    def queue_step(self, step):
        self.queue.append(step)
        self.heard.append(f"queued {step}")

    def mark(self):
        return Mark(self, self.queue[-1])

    def tell(self, step):
        assert step not in self.queue, "told before it was done"
        self.heard.append(f"told {step}")

    def work_until(self, step):
        while step in self.queue:
            self.queue.pop(0)


class Mark:
    def __init__(self, device, step):
        self.device, self.step = device, step

    def synchronize(self):
        self.device.work_until(self.step)


@pytest.fixture
def device():
    return Device()


def test_one_step_is_queued_ahead(device):
    """Each step is told once the next one is queued, in order; the last one at the end."""
    with StepReporter(device.tell, device.mark) as steps:
        for step in (1, 2, 3):
            device.queue_step(step)
            steps.step_queued(step)
        device.heard.append("picture")

    assert device.heard == [
        "queued 1", "queued 2", "told 1", "queued 3", "told 2", "picture", "told 3",
    ]  # fmt: skip


def test_a_device_that_is_done_is_told_at_once(device):
    """Without marks each step is told before the next one, the last one before the picture."""
    with StepReporter(device.heard.append, None) as steps:
        for step in (1, 2):
            steps.step_queued(step)
        device.heard.append("picture")

    assert device.heard == [1, 2, "picture"]


def test_a_cancel_acts_within_one_step(device):
    """What is raised at the first step stops the drawing at the second, and nothing more is told."""

    def cancel(step):
        device.tell(step)
        raise Cancelled

    def draw():
        with StepReporter(cancel, device.mark) as steps:
            for step in (1, 2, 3):
                device.queue_step(step)
                steps.step_queued(step)

    with pytest.raises(Cancelled):
        draw()

    assert device.heard == ["queued 1", "queued 2", "told 1"]


def test_a_cancel_at_the_last_step_ends_the_order(device):
    """What is raised once the picture is there is raised."""

    def cancel(_step):
        raise Cancelled

    device.queue_step(1)
    with pytest.raises(Cancelled), StepReporter(cancel, device.mark) as steps:
        steps.step_queued(1)


def test_after_a_failure_nothing_is_told(device):
    """A step that was queued when the drawing failed is not told as done."""

    def fail():
        with StepReporter(device.tell, device.mark) as steps:
            device.queue_step(1)
            steps.step_queued(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()

    assert device.heard == ["queued 1"]


def test_a_device_that_fails_is_heard(device):
    """What waiting for the device raises comes out, and its step is not told."""

    class LeaseLost(Mark):
        def synchronize(self):
            raise RuntimeError("CUDA error")

    device.queue_step(1)
    with pytest.raises(RuntimeError, match="CUDA error"), StepReporter(
        device.tell, lambda: LeaseLost(device, 1)
    ) as steps:  # fmt: skip
        steps.step_queued(1)

    assert device.heard == ["queued 1"]


def test_a_preview_belongs_to_its_step(device):
    """It is seen after the step before was told and before its own is, which then does not wait for another."""

    def show(step):
        device.work_until(step)
        device.heard.append(f"preview {step}")

    with StepReporter(device.tell, device.mark) as steps:
        for step, is_shown in ((1, False), (2, True), (3, False)):
            device.queue_step(step)
            steps.step_queued(step, partial(show, step) if is_shown else None)

    assert device.heard == [
        "queued 1", "queued 2", "told 1", "preview 2", "told 2", "queued 3", "told 3",
    ]  # fmt: skip

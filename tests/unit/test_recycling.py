"""The recycling policy replaces an engine process by its memory growth and its age."""

import os

import pytest

from worker.engine_client.recycling import RecyclePolicy, resident_bytes


def due_after(policy, sizes, pid=1):
    return [policy.is_due(pid, size) for size in sizes]


def test_process_may_grow_during_the_baseline():
    """Memory growth during the baseline orders is allowed."""
    assert not any(due_after(RecyclePolicy(baseline_orders=3), [10, 100, 1000]))


@pytest.mark.parametrize(("size", "due"), [(120, False), (121, True), (50, False)])
def test_process_that_grows_after_the_baseline_is_due(size, due):
    """A process is due when its memory is more than 20 % above the peak of the baseline."""
    assert due_after(RecyclePolicy(baseline_orders=3), [10, 100, 80, size])[-1] is due


def test_process_is_due_after_max_orders():
    """A process is due after its last allowed order, whatever its memory."""
    assert due_after(RecyclePolicy(baseline_orders=1, max_orders=4), [10] * 4) == [
        False,
        False,
        False,
        True,
    ]


def test_a_fresh_process_starts_from_zero():
    """The memory and orders of an earlier process do not count."""
    policy = RecyclePolicy(baseline_orders=2, max_orders=4)
    due_after(policy, [10] * 4)

    assert due_after(policy, [100, 100, 100], pid=2) == [False, False, False]


def test_resident_memory_is_read():
    """A running process has resident memory, an ended one has none."""
    assert resident_bytes(os.getpid()) > 2**20
    assert resident_bytes(2**22 + 1) == 0

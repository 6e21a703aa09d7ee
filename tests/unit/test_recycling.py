"""The recycling policy replaces an engine process whose memory grows, when it has no work."""

import os

import numpy as np
import pytest

from worker.engine_client.recycling import RecyclePolicy, private_bytes


def after(policy, sizes, pid=1):
    for size in sizes:
        policy.record(pid, size)
    return policy.is_due(pid), policy.is_urgent(pid)


def test_process_may_grow_during_the_baseline():
    """Memory growth during the baseline orders is allowed."""
    assert after(RecyclePolicy(baseline_orders=3), [10, 100, 1000]) == (False, False)


@pytest.mark.parametrize(
    ("size", "due", "urgent"),
    [(50, False, False), (120, False, False), (121, True, False), (201, True, True)],
)
def test_process_that_grows_after_the_baseline_is_due(size, due, urgent):
    """A process is due when its memory is more than 20 % above the peak of the baseline, and urgent when it has doubled."""
    assert after(RecyclePolicy(baseline_orders=3), [10, 100, 80, size]) == (due, urgent)


def test_age_is_no_reason():
    """A process that does not grow is never due, however many orders it has run."""
    assert after(RecyclePolicy(baseline_orders=1), [10] * 20_000) == (False, False)


def test_new_process_starts_from_zero():
    """The memory and orders of an earlier process do not count."""
    policy = RecyclePolicy(baseline_orders=2)
    after(policy, [10, 10, 100])

    assert not policy.is_due(2)
    assert after(policy, [100, 100, 100], pid=2) == (False, False)


def test_private_memory_has_no_mapped_files(tmp_path):
    """A running process has private memory, which mapped files do not add to. An ended one has none."""
    file = tmp_path / "weights"
    file.write_bytes(bytes(64 << 20))
    before = private_bytes(os.getpid())
    mapped = np.memmap(file, np.uint8, "r")
    mapped.sum()

    assert before > 2**20
    assert private_bytes(os.getpid()) - before < 32 << 20
    assert private_bytes(2**22 + 1) == 0

import os

import pytest

from worker.engine_client.recycling import RecyclePolicy, resident_bytes


def dues(policy, sizes, pid=1):
    return [policy.is_due(pid, size) for size in sizes]


def test_a_process_may_grow_at_first():
    """Until it has settled, a process may take what it needs."""
    assert not any(dues(RecyclePolicy(baseline_orders=3), [10, 100, 1000]))


@pytest.mark.parametrize(("size", "due"), [(120, False), (121, True), (50, False)])
def test_a_settled_process_that_grows_is_replaced(size, due):
    """More than a fifth above the most that it had at first is too much."""
    assert dues(RecyclePolicy(baseline_orders=3), [10, 100, 80, size])[-1] is due


def test_a_process_is_replaced_after_so_many_orders():
    """At the last order that it may draw it is due, however small it is."""
    assert dues(RecyclePolicy(baseline_orders=1, max_orders=4), [10] * 4) == [
        False,
        False,
        False,
        True,
    ]


def test_a_fresh_process_starts_from_zero():
    """What the process before it had or drew does not count."""
    policy = RecyclePolicy(baseline_orders=2, max_orders=4)
    dues(policy, [10] * 4)

    assert dues(policy, [100, 100, 100], pid=2) == [False, False, False]


def test_memory_is_read():
    """A living process holds memory, one that has ended none."""
    assert resident_bytes(os.getpid()) > 2**20
    assert resident_bytes(2**22 + 1) == 0

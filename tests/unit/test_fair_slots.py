"""Tests of slots that owners share."""

from app.fair_slots import FairSlots


def test_owner_gets_its_share():
    """One owner gets as many slots as one owner may have, and a free slot again after a release."""
    slots = FairSlots(64, 16)

    assert sum(slots.take("a") for _ in range(100)) == 16
    assert slots.full() == ["a"]
    slots.release("a")
    assert slots.full() == []
    assert slots.take("a")


def test_owners_leave_slot_for_next():
    """Each of many greedy owners leaves a slot for the next one, until there are as many owners as slots."""
    slots = FairSlots(8, 4)
    held = [sum(slots.take(owner) for _ in range(100)) for owner in "abcdefghij"]

    assert held == [4, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    assert slots.is_full


def test_released_slots_are_free_again():
    """Slots that one owner gives back, several at once, are free for others, and an owner that took none gives none back."""
    slots = FairSlots(4, 4)

    assert slots.take("a", 3)
    assert not slots.take("b", 2)
    slots.release("a", 3)
    slots.release("c", 0)
    assert slots.take("b", 4)
    assert slots.is_full

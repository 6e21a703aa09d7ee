"""Finds the part of a record that a change touches, so that Redis receives and logs only that part. Does no I/O."""

from typing import NamedTuple


class Patch(NamedTuple):
    """Bytes that replace those of a record from an offset on."""

    offset: int
    part: bytes
    record: bytes  # the record afterwards


def patch_in_place(old: bytes, new: bytes) -> Patch:
    """Overwrite a part of the old record. A shorter record gets spaces at its end, which JSON allows."""
    new = new.ljust(len(old))
    first, end = _differing(old, new[: len(old)])
    if len(new) > len(old):
        end = len(new)
    return Patch(first, new[first:end], new)


def patch_to_end(old: bytes, new: bytes) -> Patch:
    """Replace everything from the first difference on. The record has exactly the length of the new one."""
    length = min(len(old), len(new))
    first, _ = _differing(old[:length], new[:length])
    return Patch(first, new[first:], new)


def _differing(one: bytes, other: bytes) -> tuple[int, int]:
    """Return where two texts of the same length begin and stop to differ, or twice their length if they are equal."""
    bits = int.from_bytes(one) ^ int.from_bytes(other)
    if not bits:
        return len(one), len(one)
    first = len(one) - (bits.bit_length() + 7) // 8
    equal_at_end = ((bits & -bits).bit_length() - 1) // 8
    return first, len(one) - equal_at_end

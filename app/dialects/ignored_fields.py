"""Names the fields of a request that have no effect. Does no I/O."""

from collections.abc import Sequence

_NOTED_MAX = 20  # fields
_NAME_MAX = 40  # characters of a field's name


def ignored_notes(fields: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for each field, a bounded number of them."""
    notes = [f"WARNING: {field[:_NAME_MAX]!r} has no effect here" for field in fields[:_NOTED_MAX]]
    if len(fields) > _NOTED_MAX:
        notes.append(f"WARNING: {len(fields) - _NOTED_MAX} more fields have no effect here")
    return tuple(notes)

"""How records are written to Redis and read again, by versions of klein that know different fields of them; no I/O."""

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Records(Generic[T]):
    """The records of one kind, as JSON."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def read(self, record: bytes) -> T:
        """Read a record; fields that this version does not know are passed over."""
        return self._adapter.validate_json(record)

    def write(self, value: T, over: bytes | None = None) -> bytes:
        """Write a value; what the record `over` that it replaces says beyond this version stays in it."""
        written = self._adapter.dump_json(value, by_alias=True)
        if over is None:
            return written
        known = self._adapter.dump_json(self.read(over), by_alias=True)
        if known == over:  # as nearly always: another version wrote nothing into it
            return written
        merged = _beside(json.loads(over), json.loads(known), json.loads(written))
        return json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()


def _beside(over: Any, known: Any, new: Any) -> Any:
    """Give what is new, with what `over` says beside what was known of it."""
    if new == known:
        return over
    if isinstance(over, dict) and isinstance(known, dict) and isinstance(new, dict):
        unknown = {name: value for name, value in over.items() if name not in known}
        return unknown | {
            name: _beside(over.get(name), known.get(name), value) for name, value in new.items()
        }
    if isinstance(over, list) and isinstance(known, list) and isinstance(new, list):
        kept = [_beside(*each) for each in zip(over, known, new, strict=False)]
        return kept + new[len(kept) :]
    return new

"""Writes and reads records as JSON, so that versions of klein with different fields can share them; no I/O."""

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Records(Generic[T]):
    """Encodes the records of one class as JSON, each field under its alias if it has one."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def read(self, record: bytes) -> T:
        """Read a record. Fields that this version does not know are ignored."""
        return self._adapter.validate_json(record)

    def write(self, value: T, over: bytes | None = None) -> bytes:
        """Write a value. Fields of the replaced record `over` that this version does not know are copied."""
        written = self._adapter.dump_json(value, by_alias=True)
        if over is None:
            return written
        known = self._adapter.dump_json(self.read(over), by_alias=True)
        if known == over:  # the usual case: no other version added a field
            return written
        merged = _merge(json.loads(over), json.loads(known), json.loads(written))
        return json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()


def _merge(over: Any, known: Any, new: Any) -> Any:
    """Merge into `new` what `over` holds and `known`, its reading by this version, lacks."""
    if new == known:
        return over
    if isinstance(over, dict) and isinstance(known, dict) and isinstance(new, dict):
        unknown = {name: value for name, value in over.items() if name not in known}
        return unknown | {
            name: _merge(over.get(name), known.get(name), value) for name, value in new.items()
        }
    if isinstance(over, list) and isinstance(known, list) and isinstance(new, list):
        merged = [_merge(*items) for items in zip(over, known, new, strict=False)]
        return merged + new[len(merged) :]
    return new

"""Writes and reads records as JSON, so that versions of klein with different fields can share them. Does no I/O."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.logs import log
from app.metrics import UNREADABLE
from app.predictions.errors import UnreadableRecord

T = TypeVar("T")


class Records(Generic[T]):
    """Encodes the records of one class as JSON, each field under its alias if it has one."""

    def __init__(self, kind: type[T], is_known: Callable[[T], bool] = lambda _: True) -> None:
        self._kind = kind
        self._is_known = is_known  # whether this version knows what the record names
        self._adapter = TypeAdapter(kind)

    def read(self, record: bytes) -> T:
        """Read a record. Fields that this version does not know are ignored. Raises UnreadableRecord."""
        try:
            value = self._adapter.validate_json(record)
        except ValidationError as exc:
            where = ".".join(str(part) for part in exc.errors()[0]["loc"])
            raise UnreadableRecord(self._kind.__name__, where or "its form") from None
        if not self._is_known(value):
            raise UnreadableRecord(self._kind.__name__, "what it names")
        return value

    def read_each(self, records: Iterable[bytes | None]) -> Iterator[T]:
        """Read many records. Skip missing ones, and log and count unreadable ones."""
        for record in records:
            if record is None:
                continue
            try:
                yield self.read(record)
            except UnreadableRecord as exc:
                UNREADABLE.inc()
                log.error("record_unreadable", error=str(exc))

    def write(self, value: T, over: bytes | None = None, before: T | None = None) -> bytes:
        """Write a value without fields that have their default.

        Fields of the replaced record `over` that this version does not know are copied. `before` is what it reads as, if
        the caller has read it.
        """
        written = self._dump(value)
        if over is None:
            return written
        known = self._dump(self.read(over) if before is None else before)
        if known == over.rstrip(b" "):  # the usual case: no other version added a field
            return written
        merged = _merge(json.loads(over), json.loads(known), json.loads(written))
        return json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()

    def _dump(self, value: T) -> bytes:
        return self._adapter.dump_json(value, by_alias=True, exclude_defaults=True)


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

"""Reads durations as people write them: 30s, 10m, 1h, 7d."""

import re
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHORT = re.compile(r"(\d{1,9})([smhd]?)")
_ISO = TypeAdapter(timedelta)


def parse_duration(text: str) -> timedelta:
    """Read a duration: a number of seconds, a number with a unit, or ISO 8601. Raises ValueError."""
    if match := _SHORT.fullmatch(text.strip().lower()):
        number, unit = match.groups()
        try:
            return timedelta(**{_UNITS[unit]: int(number)})
        except OverflowError:
            raise ValueError(f"{text!r} is too long") from None
    try:
        return _ISO.validate_python(text)
    except ValidationError:
        raise ValueError(
            f"{text!r} is not a duration; write 30s, 10m, 1h, 7d or a number of seconds"
        ) from None

"""Makes and reads the cursors of Replicate's pages. Does no I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from app.dialects.replicate import wire
from app.predictions.clock import from_ms, to_ms
from app.predictions.errors import FieldProblem, InvalidInput

_CURSOR = re.compile(r"([0-9]{1,14})-([0-9]{1,9})")  # 14 digits are a time before the year 5200


def page_urls(
    path: str, until: datetime, offset: int, total: int, query: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """Return the URLs of the previous and the next page, which repeat the rest of the query."""

    def at(place: int) -> str:
        cursor = f"{to_ms(until)}-{max(place, 0)}"
        return f"{path}?{urlencode({**(query or {}), 'cursor': cursor})}"

    return {
        "previous": at(offset - wire.PAGE) if offset else None,
        "next": at(offset + wire.PAGE) if total > offset + wire.PAGE else None,
    }


def parse_cursor(cursor: str) -> tuple[datetime, int]:
    """Parse a cursor: the time of the first page, and the offset from it. Raises InvalidInput."""
    if not cursor:
        return datetime.now(UTC), 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidInput(
            FieldProblem(field="cursor", message="send `next` or `previous` of a page")
        )
    return from_ms(int(match[1])), int(match[2])

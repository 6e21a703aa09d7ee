"""Reads times in query strings."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

# a form decoder makes a blank of the plus in 2026-01-31T12:00:00+02:00
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")


def _with_plus(text: Any) -> Any:
    is_time = isinstance(text, str) and "T" in text.upper()
    return _LOST_PLUS.sub("+", text) if is_time else text


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


QueryTime = Annotated[datetime, BeforeValidator(_with_plus), AfterValidator(_aware)]
"""A time in RFC 3339. One without a zone is in UTC."""

"""Types of settings whose text has a form of its own: lists and durations."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from app.durations import parse_duration


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _parse_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Comma-separated texts. Empty ones are dropped."""

Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
"""A number of seconds, a number with a unit such as `10m`, or ISO 8601."""

PositiveDuration = Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_parse_duration)]
"""A duration above 0."""

"""Types of settings whose text has a form of its own: lists, durations and URLs."""

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from app.durations import parse_duration


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _parse_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _check_url(value: object) -> object:
    if isinstance(value, str) and not _is_url(value):
        raise ValueError(f"{value!r} is not a URL; write one like https://klein.example.com")
    return value


def _check_origins(value: object) -> object:
    for origin in value if isinstance(value, tuple) else ():
        # a browser sends scheme, host and port, and nothing else: others would never be equal
        if origin != "*" and (not _is_url(origin) or urlsplit(origin).path):
            raise ValueError(f"{origin!r} is not an origin; write one like https://app.example.com")
    return value


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_port = parts.port != 0  # raises ValueError if it is no number
    except ValueError:
        return False
    is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and has_port
    return is_http and not (parts.query or parts.fragment or any(map(str.isspace, text)))


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Comma-separated texts. Empty ones are dropped."""

HttpUrl = Annotated[str, BeforeValidator(_check_url)]
"""A URL with http or https and a host, maybe with a path."""

Origins = Annotated[CommaList, AfterValidator(_check_origins)]
"""Comma-separated origins of pages, such as `https://app.example.com`, or `*`."""

Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
"""A number of seconds, a number with a unit such as `10m`, or ISO 8601."""

PositiveDuration = Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_parse_duration)]
"""A duration above 0."""

"""Reads the settings for the commands of servers."""

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings import Settings

_WRONG = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}  # by type of pydantic's error


def read_settings() -> Settings:
    """Read the settings. Raises click.ClickException that names each wrong one."""
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(f"{error['loc'][0]}: {_describe(error)}" for error in exc.errors())
        raise click.ClickException(f"settings: {problems}") from None


def _describe(error: ErrorDetails) -> str:
    if words := _WRONG.get(error["type"]):
        unit = " of bytes" if str(error["loc"][0]).endswith("_BYTES") else ""
        return f"{error['input']!r} is not {words}{unit}"
    return error["msg"].removeprefix("Value error, ")

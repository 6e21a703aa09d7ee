"""Reads the settings for the commands of servers."""

import click
from pydantic import ValidationError

from app.settings import Settings


def read_settings() -> Settings:
    """Read the settings. Raises click.ClickException that names each wrong one."""
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(
            f"{error['loc'][0]}: {error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors()
        )
        raise click.ClickException(f"settings: {problems}") from None

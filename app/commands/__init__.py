"""The commands of `klein` that manage or ask a running system."""

import click
from pydantic import ValidationError

from app.settings import Settings


def read_settings() -> Settings:
    """Read the settings, or say which is wrong."""
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in exc.errors())
        raise click.ClickException(f"settings: {problems}") from None

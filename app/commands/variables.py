"""Finds environment variables that look like settings of klein and are not."""

from collections.abc import Iterable
from difflib import get_close_matches

from app.settings import Settings

PREFIX = "KLEIN_"
FOREIGN = frozenset({"KLEIN_LISTEN", "KLEIN_GPU"})  # docker-compose.yml reads them
SERVICE = "_SERVICE_HOST"  # Kubernetes sets NAME_SERVICE_HOST, NAME_PORT … for each service


def unknown_variables(names: Iterable[str]) -> list[str]:
    """List the unknown `KLEIN_` variables, each with the setting that was probably meant."""
    names = set(names)
    known = {str(field.alias) for field in Settings.model_fields.values()}
    services = tuple(f"{n.removesuffix(SERVICE)}_" for n in names if n.endswith(SERVICE))
    unknown = sorted(
        name
        for name in names - known - FOREIGN
        if name.startswith(PREFIX) and not (services and name.startswith(services))
    )
    return [_describe(name, known) for name in unknown]


def _describe(name: str, known: set[str]) -> str:
    settings = {setting.removeprefix(PREFIX): setting for setting in known}
    matches = get_close_matches(name.removeprefix(PREFIX), settings, n=1, cutoff=0.7)
    return f"{name} is not a setting" + (
        f"; did you mean {settings[matches[0]]}?" if matches else ""
    )

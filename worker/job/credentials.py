"""Loads the content credentials (C2PA) that the settings name. They state that a model generated the image."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.job.content_credentials import ContentCredentials


class UnusableCredentials(ValueError):
    """The certificate and key of KLEIN_C2PA_CERT and KLEIN_C2PA_KEY cannot sign images."""


def open_credentials(certificate: Path | None, key: Path | None) -> "ContentCredentials | None":
    """Load the credentials of the settings. None if there are none. Raises UnusableCredentials."""
    match certificate, key:
        case None, None:
            return None
        case None, _:
            raise UnusableCredentials("KLEIN_C2PA_KEY is set, but KLEIN_C2PA_CERT is not; set both")
        case _, None:
            raise UnusableCredentials("KLEIN_C2PA_CERT is set, but KLEIN_C2PA_KEY is not; set both")
    assert certificate is not None  # noqa: S101 -- matched above
    assert key is not None  # noqa: S101
    try:
        from worker.job.content_credentials import ContentCredentials  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as exc:
        raise UnusableCredentials(
            f"KLEIN_C2PA_CERT is set, but the package {exc.name} is not installed: pip install '.[c2pa]'"
        ) from None
    return ContentCredentials(_read("KLEIN_C2PA_CERT", certificate), _read("KLEIN_C2PA_KEY", key))


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnusableCredentials(f"{setting}: cannot read {path}: {exc.strerror}") from None

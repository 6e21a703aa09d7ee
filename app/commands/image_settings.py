"""Reads from an image file how it was generated, for `klein predict --like`."""

from pathlib import Path
from typing import Any

import click

from app.generation_text import read_text

_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286


def read_settings(path: Path) -> dict[str, Any]:
    """Return the fields of an input that the file holds, and `model`. Raises click.BadParameter if there are none."""
    from PIL import Image  # noqa: PLC0415 -- takes long to import

    try:
        with Image.open(path) as image:
            text = getattr(image, "text", {}).get("parameters") or _read_comment(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise click.BadParameter(f"{path} is not an image: {exc}", param_hint="--like") from None
    if settings := read_text(text):
        return settings
    raise click.BadParameter(
        f"{path} does not say how it was generated; klein writes that with --metadata or KLEIN_METADATA",
        param_hint="--like",
    )


def _read_comment(image: Any) -> str:
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if not isinstance(comment, bytes) or not comment.startswith(b"UNICODE\0"):
        return ""
    return comment[8:].decode("utf-16-be", "replace")

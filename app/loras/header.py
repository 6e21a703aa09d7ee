"""Reads the header of a LoRA file, and words what is wrong with it."""

from pathlib import Path

from app.loras.errors import IncompatibleLora
from app.safetensors_header import BadSafetensors, SafetensorsHeader, read_safetensors_header

HEADER_MAX_BYTES = 16 * 1024 * 1024


def read_header(file: Path) -> SafetensorsHeader:
    """Read the header of a file, and check that the file is complete. Raises IncompatibleLora or OSError."""
    try:
        return read_safetensors_header(file, HEADER_MAX_BYTES)
    except BadSafetensors as exc:
        raise IncompatibleLora(f"it {exc}") from None

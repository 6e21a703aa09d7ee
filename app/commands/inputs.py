"""Reads the prompt, the reference images and the LoRAs of `klein predict`."""

import base64
import math
import sys
from pathlib import Path
from typing import Any

import click

STDIN = "-"
PROMPT_MAX_BYTES = 64 * 1024  # a prompt has at most 10,000 characters
REFERENCE_MAX_BYTES = 20 * 1024 * 1024


def read_prompt(text: str) -> str:
    """Return the prompt, from stdin if it is `-`. Raises click.BadParameter."""
    if text == STDIN:
        data = _read_stdin(PROMPT_MAX_BYTES + 1)
        if len(data) > PROMPT_MAX_BYTES:
            raise _wrong_prompt(
                f"stdin has more than {PROMPT_MAX_BYTES} bytes; send a shorter prompt"
            )
        try:
            text = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _wrong_prompt("stdin is not UTF-8 text") from None
    elif not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
        raise _wrong_prompt("it is not text in the encoding of this terminal")
    if not text.strip():
        raise _wrong_prompt("it is empty")
    return text


def read_reference(image: str, option: str = "--image") -> str:
    """Return the URL of an image, or the file as a data URI. `-` is stdin. Raises click.BadParameter."""
    if image.startswith(("http://", "https://", "data:")):
        return image
    try:
        if image == STDIN:
            data = _read_stdin(REFERENCE_MAX_BYTES + 1)
        else:
            with Path(image).open("rb") as file:
                data = file.read(REFERENCE_MAX_BYTES + 1)
    except OSError as exc:
        raise _wrong_reference(f"{image}: {exc.strerror}", option) from None
    if not data:
        raise _wrong_reference(f"{image} is empty", option)
    if len(data) > REFERENCE_MAX_BYTES:
        megabytes = REFERENCE_MAX_BYTES // (1024 * 1024)
        raise _wrong_reference(f"{image} is larger than {megabytes} MB; use a smaller file", option)
    # the server looks at the bytes, not at the media type
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def parse_lora(text: str) -> dict[str, Any]:
    """Read NAME or NAME:SCALE. A colon without a number after it belongs to the name."""
    name, colon, scale_text = text.rpartition(":")
    try:
        scale = float(scale_text)
    except ValueError:
        colon = ""
    if not colon:
        return {"path": text}
    if not math.isfinite(scale):
        raise click.BadParameter(
            f"the scale of {name} is not a number; write NAME:0.8", param_hint="--lora"
        )
    return {"path": name, "scale": scale}


def _read_stdin(size_bytes: int) -> bytes:
    # None means the shell closed it
    return b"" if sys.stdin is None else sys.stdin.buffer.read(size_bytes)


def _wrong_prompt(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="PROMPT")


def _wrong_reference(message: str, option: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint=option)

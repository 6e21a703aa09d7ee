"""Writes and reads the text in an image file that says how it was generated, as Stable Diffusion web UI does. Does no I/O.

The text is the prompt, a line `Negative prompt: …` if there is one, and a line of `Name: value` pairs.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

_NEGATIVE = "Negative prompt: "
_PAIR = re.compile(r'\s*(\w[\w \-/]*): ("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_LORA = re.compile(r"(.+?):(-?\d+(?:\.\d+)?)(?:, |$)")
_FEWEST_PAIRS = 3  # a last line with fewer belongs to the prompt


class Metadata(StrEnum):
    """What an image file says about how it was generated."""

    NONE = "none"
    SEED = "seed"  # and steps, size and model
    FULL = "full"  # and the prompts and LoRAs


def write_text(prompt: str, negative: str, settings: Mapping[str, object]) -> str:
    """Write the text of one image. An empty prompt is left out."""
    pairs = ", ".join(f"{name}: {_quote(str(value))}" for name, value in settings.items())
    lines = [prompt, f"{_NEGATIVE}{negative}" if negative else "", pairs]
    return "\n".join(line for line in lines if line)


def read_text(text: str) -> dict[str, Any]:
    """Read the fields of an input from a text, and `model`. What it does not say or klein does not know is left out."""
    *lines, last = text.strip().split("\n")
    pairs = {name.strip(): _unquote(value) for name, value in _PAIR.findall(last)}
    if len(pairs) < _FEWEST_PAIRS:
        lines, pairs = [*lines, last], {}
    at = next((k for k, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[at:]).removeprefix(_NEGATIVE)
    size = _SIZE.fullmatch(pairs.get("Size", ""))
    fields = {
        "prompt": "\n".join(lines[:at]),
        "negative_prompt": negative,
        "num_inference_steps": _number(int, pairs.get("Steps")),
        "guidance_scale": _number(float, pairs.get("CFG scale")),
        "seed": _number(int, pairs.get("Seed")),
        "image_size": {"width": int(size[1]), "height": int(size[2])} if size else None,
        "loras": [
            {"path": path, "scale": float(scale)}
            for path, scale in _LORA.findall(pairs.get("LoRAs", ""))
        ],
        "model": pairs.get("Model"),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:"\n') else value


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _number(kind: type[int] | type[float], text: str | None) -> Any:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None

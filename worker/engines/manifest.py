"""Reads klein.json, the optional file in a weights folder that describes how to serve it."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from worker.engines.errors import WeightsError

FILE_NAME = "klein.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Describes how to serve a checkpoint. The defaults are those of FLUX.2 [klein] 4B."""

    name: str = "flux-2-klein-4b"
    description: str = ""
    max_sequence_length: int = 512
    """Tokens to which every prompt is padded or truncated."""
    text_encoder_out_layers: tuple[int, ...] = (9, 18, 27)
    """Layers of the text encoder whose hidden states form the embedding."""
    native_size: int = 1024
    """Side in pixels of the square image that the model generates best."""
    native_multiple: int = 16
    """Sides of rendered images are multiples of this. Used only with `render_scaled`."""
    largest_size: int = 2048
    """Longest side in pixels of an output image."""
    render_scaled: bool = False
    """Whether to generate about native_size² pixels and resize them to the requested size."""
    licence: str = "Apache-2.0"
    random_weights: bool = False
    """Whether the weights are untrained, for tests and benchmarks. Then the output is not checked."""


def read_manifest(weights: Path, *, name: str = "", licence: str = "Apache-2.0") -> Manifest:
    """Read klein.json from a weights folder, or return the defaults with `name` and `licence` if there is none.

    Unknown keys are ignored, because a newer recipe may write more than this version reads. Raises `WeightsError`.
    """
    path = weights / FILE_NAME
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest(name=name or weights.name, licence=licence)
    except (OSError, ValueError) as exc:
        raise WeightsError(
            f"{path} is not readable JSON: {exc}. Copy or download it again"
        ) from exc
    if not isinstance(raw, dict):
        raise WeightsError(f"{path} must hold a JSON object")

    values: dict[str, object] = {}
    for field in fields(Manifest):
        if field.name not in raw:
            continue
        value = raw[field.name]
        if field.name == "text_encoder_out_layers":
            if not (isinstance(value, list) and value and all(_is_positive_int(x) for x in value)):
                raise WeightsError(f"{path}: {field.name} must be a list of positive integers")
            values[field.name] = tuple(value)
        elif field.type is int and not _is_positive_int(value):
            raise WeightsError(f"{path}: {field.name} must be a positive integer")
        elif field.type is not int and not isinstance(value, field.type):  # type: ignore[arg-type]  # str or bool
            expected = "true or false" if field.type is bool else "a string"
            raise WeightsError(f"{path}: {field.name} must be {expected}")
        else:
            values[field.name] = value
    return Manifest(**values)  # type: ignore[arg-type]  # each value was checked against its field


def _is_positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

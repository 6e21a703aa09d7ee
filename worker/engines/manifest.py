"""klein.json, the file beside the weights that says how they want to be served."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from worker.engines.errors import WeightsError

FILE_NAME = "klein.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How a checkpoint wants to be served; the defaults are those of FLUX.2 [klein] 4B."""

    name: str = "flux-2-klein-4b"
    description: str = ""
    max_sequence_length: int = 512
    text_encoder_out_layers: tuple[int, ...] = (9, 18, 27)
    native_size: int = 1024
    native_multiple: int = 16
    largest_size: int = 2048
    render_scaled: bool = False
    licence: str = "Apache-2.0"


def read_manifest(weights: Path, *, name: str = "") -> Manifest:
    """Read klein.json of the weights folder, or give the defaults and the name when it has none.

    Unknown keys are ignored: a newer recipe may write more than this version reads.
    """
    path = weights / FILE_NAME
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest(name=name or weights.name)
    except (OSError, ValueError) as exc:
        raise WeightsError(f"{path} is not readable JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise WeightsError(f"{path} must hold a JSON object")

    values: dict[str, object] = {}
    for field in fields(Manifest):
        if field.name not in raw:
            continue
        value = raw[field.name]
        if field.name == "text_encoder_out_layers":
            if not (isinstance(value, list) and value and all(_is_count(x) for x in value)):
                raise WeightsError(f"{path}: {field.name} must be a list of positive integers")
            values[field.name] = tuple(value)
        elif field.type is int and not _is_count(value):
            raise WeightsError(f"{path}: {field.name} must be a positive integer")
        elif field.type is not int and not isinstance(value, field.type):  # type: ignore[arg-type]  # str and bool: plain classes
            raise WeightsError(f"{path}: {field.name} must be a {field.type}")
        else:
            values[field.name] = value
    return Manifest(**values)  # type: ignore[arg-type]  # each value was checked against its field


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

"""The field `loras` of an input: which files of the operator's folder to draw with, and how strongly."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

LORAS_MAX = 3
SCALE_MAX = 4
# A name alone, so that no request leaves the folder; the same in JSON Schema and in pydantic.
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*\.safetensors$"
NAME_MAX_LENGTH = 200  # characters

LORAS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": LORAS_MAX,
    "default": [],
    "description": "LoRAs to apply, by file name, each once.",
    "items": {
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX_LENGTH},
            "scale": {"type": "number", "minimum": -SCALE_MAX, "maximum": SCALE_MAX, "default": 1},
        },
    },
}


class Lora(BaseModel):
    """One LoRA of the operator's folder."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    path: str = Field(max_length=NAME_MAX_LENGTH, pattern=NAME_PATTERN)
    scale: float = Field(1.0, ge=-SCALE_MAX, le=SCALE_MAX, allow_inf_nan=False)


def check_distinct(loras: list[Lora]) -> list[Lora]:
    """Refuse a file that is named twice: which scale would count is anyone's guess."""
    if len({lora.path for lora in loras}) < len(loras):
        raise ValueError("must not name a file twice")
    return loras

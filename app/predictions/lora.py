"""The field `loras` of an input: which LoRAs to apply, and how strongly."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.loras.names import NAME_RULE, is_safe_name
from app.loras.sources import is_url
from app.predictions.json_values import normalised

LORAS_MAX = 3
SCALE_MAX = 4
PATH_MAX_LENGTH = 2048  # characters

LORAS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": LORAS_MAX,
    "default": [],
    "description": "LoRAs to apply, each once. GET /v1/loras lists them.",
    "items": {
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {
                "type": "string",
                "minLength": 1,
                "maxLength": PATH_MAX_LENGTH,
                "description": "A file of the server's LoRA folder. Where the server allows it, a URL or a hub id.",
            },
            "scale": {"type": "number", "minimum": -SCALE_MAX, "maximum": SCALE_MAX, "default": 1},
        },
    },
}


class Lora(BaseModel):
    """One LoRA and its strength."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    path: str = Field(max_length=PATH_MAX_LENGTH)
    scale: float = Field(1.0, ge=-SCALE_MAX, le=SCALE_MAX, allow_inf_nan=False)

    @field_validator("path")
    @classmethod
    def _is_a_name(cls, path: str) -> str:
        if not is_safe_name(path) and not is_url(path):
            raise ValueError(NAME_RULE)
        return path


def check_distinct(loras: list[Lora]) -> list[Lora]:
    """Refuse a file that is named twice: its scale would be ambiguous."""
    if len({lora.path for lora in loras}) < len(loras):
        raise ValueError("must not name a file twice")
    return loras

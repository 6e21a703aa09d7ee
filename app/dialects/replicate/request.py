"""What a request in Replicate's form asks for, after its input is read. Does no I/O."""

import re
from dataclasses import dataclass
from typing import Any

from app.predictions.errors import FieldProblem, InvalidInput

_IMAGE = re.compile(r"image_urls\[(\d+)\]")
_NAMES = {
    "num_images": "num_outputs",
    "guidance_scale": "guidance",
    "image_urls": "images",
    "mask_url": "mask",
    "strength": "prompt_strength",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequest:
    """An input of the catalog, and what the answer says about the one that was sent."""

    slug: str
    input: dict[str, Any]
    notes: tuple[str, ...]  # for the logs
    image_fields: tuple[str, ...]  # where each reference image came from

    def rename_fields(self, exc: InvalidInput) -> InvalidInput:
        """Rename the fields of problems to those that were sent."""
        return InvalidInput(
            *(FieldProblem(field=self._sent(p.field), message=p.message) for p in exc.problems)
        )

    def _sent(self, field: str) -> str:
        if (match := _IMAGE.match(field)) and int(match[1]) < len(self.image_fields):
            return self.image_fields[int(match[1])]
        if field.startswith("loras"):
            return "lora_scales" if field.endswith("scale") else "lora_weights"
        return _NAMES.get(field, field)

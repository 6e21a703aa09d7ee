"""The models of klein: slug, title, checkpoint kind and input; and the price of their images."""

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.inputs import BaseEditInput, EditInput, ModelInput, TextToImageInput
from app.predictions.lora import LORAS_SCHEMA
from app.predictions.problems import problems_of

PRICE_PER_MEGAPIXEL = 0.001  # dollars, the hosted price
DRAWN_SEED_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One entry of the catalog."""

    slug: str
    title: str
    checkpoint: CheckpointKind
    input: type[ModelInput]

    def parse(self, given: dict[str, Any]) -> ModelInput:
        """Check an input. Raises InvalidInput naming every field that does not fit."""
        try:
            return self.input.model_validate(given)
        except ValidationError as exc:
            raise InvalidInput(*problems_of(exc)) from None

    @property
    def request_schema(self) -> dict[str, Any]:
        """The input as plain JSON Schema with scalar types, for clients that check before sending."""
        schema = self.input.model_json_schema()
        properties: dict[str, dict[str, Any]] = {
            name: {k: v for k, v in spec.items() if k != "title" and v is not None}
            for name, spec in schema["properties"].items()
        }
        properties["loras"] = LORAS_SCHEMA
        steps = properties["num_inference_steps"]
        steps["default"] = self.checkpoint.default_steps
        if not self.input.__name__.endswith("EditInput"):
            properties["image_size"]["default"] = "landscape_4_3"
        return {"type": "object", "required": schema["required"], "properties": properties}


MODELS = {
    model.slug: model
    for model in (
        Model(
            slug="flux-2-klein-4b-text-to-image",
            title="FLUX.2 [klein] 4B Text to Image",
            checkpoint=CheckpointKind.DISTILLED,
            input=TextToImageInput,
        ),
        Model(
            slug="flux-2-klein-4b-edit",
            title="FLUX.2 [klein] 4B Edit",
            checkpoint=CheckpointKind.DISTILLED,
            input=EditInput,
        ),
        Model(
            slug="flux-2-klein-4b-base-text-to-image",
            title="FLUX.2 [klein] 4B Base Text to Image",
            checkpoint=CheckpointKind.BASE,
            input=TextToImageInput,
        ),
        Model(
            slug="flux-2-klein-4b-base-edit",
            title="FLUX.2 [klein] 4B Base Edit",
            checkpoint=CheckpointKind.BASE,
            input=BaseEditInput,
        ),
    )
}


def find_model(slug: str, served: frozenset[CheckpointKind]) -> Model:
    """Look a model up among those that the workers hold. Raises UnknownModel."""
    model = MODELS.get(slug)
    if model is None or model.checkpoint not in served:
        raise UnknownModel(slug)
    return model


def draw_seed() -> int:
    """Draw a seed for a caller who named none."""
    return secrets.randbits(DRAWN_SEED_BITS)


def price(sizes: list[tuple[int, int]]) -> float:
    """Price pictures of these sizes (px), in dollars."""
    return round(sum(w * h for w, h in sizes) / 1e6 * PRICE_PER_MEGAPIXEL, 6)

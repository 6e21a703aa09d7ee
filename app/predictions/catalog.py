"""The models of klein: slug, title, checkpoint kind and input; and the price of their images."""

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.predictions.checkpoint_kind import UNGUIDED, CheckpointKind
from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.inputs import (
    NAMED_SIZES,
    BaseEditInput,
    EditInput,
    ModelInput,
    TextToImageInput,
)
from app.predictions.lora import LORAS_SCHEMA
from app.predictions.parameters import (
    DEFAULT_QUALITY,
    AppliedLora,
    OutputFormat,
    Parameters,
)
from app.predictions.prediction import Prediction
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
    default_size: str | None = None  # a named size; None: the size of the first reference image

    def parse(self, sent: dict[str, Any]) -> ModelInput:
        """Check an input as a caller sent it. Raises InvalidInput that names every wrong field."""
        try:
            return self.input.model_validate(sent)
        except ValidationError as exc:
            raise InvalidInput(*problems_of(exc)) from None

    def settle(self, checked: ModelInput, drawn_seed: int) -> Parameters:
        """Decide what a checked input generates. `drawn_seed` counts if the caller named none."""
        default_size = NAMED_SIZES[self.default_size] if self.default_size else (None, None)
        width, height = checked.size or default_size
        seed = drawn_seed if checked.seed is None else checked.seed
        is_guided = self.checkpoint.is_guided
        return Parameters(
            width=width,
            height=height,
            steps=checked.num_inference_steps or self.checkpoint.default_steps,
            guidance=checked.guidance if is_guided else UNGUIDED,
            seeds=tuple(seed + k for k in range(checked.num_images)),
            negative_prompt=checked.negative if is_guided else "",
            loras=tuple(AppliedLora(path=lora.path, scale=lora.scale) for lora in checked.loras),
            previews=checked.previews,
            output_format=OutputFormat(checked.output_format),
            output_quality=checked.output_quality or DEFAULT_QUALITY,
        )

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
        if self.default_size is not None:
            properties["image_size"]["default"] = self.default_size
        return {"type": "object", "required": schema["required"], "properties": properties}


MODELS = {
    model.slug: model
    for model in (
        Model(
            slug="flux-2-klein-4b-text-to-image",
            title="FLUX.2 [klein] 4B Text to Image",
            checkpoint=CheckpointKind.DISTILLED,
            input=TextToImageInput,
            default_size="landscape_4_3",
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
            default_size="landscape_4_3",
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
    """Return a model that the workers serve. Raises UnknownModel."""
    model = MODELS.get(slug)
    if model is None or model.checkpoint not in served:
        raise UnknownModel(slug)
    return model


def parameters_of(prediction: Prediction) -> Parameters:
    """Return what a prediction generates; records of klein 0.1 say it in their input alone."""
    if prediction.parameters is not None:
        return prediction.parameters
    model = MODELS[prediction.model]
    return model.settle(model.parse(prediction.input), drawn_seed=0)  # their input has a seed


def draw_seed() -> int:
    """Draw a random seed."""
    return secrets.randbits(DRAWN_SEED_BITS)


def price(sizes: list[tuple[int, int]]) -> float:
    """Return the price in dollars of images of these sizes in pixels."""
    return round(sum(w * h for w, h in sizes) / 1e6 * PRICE_PER_MEGAPIXEL, 6)

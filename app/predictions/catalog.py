"""The models of klein: slug, title, checkpoint kind and input, and the price of their images."""

import secrets
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from app.generation_text import Metadata
from app.predictions.checkpoint_kind import UNGUIDED, CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.inputs import (
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
from app.predictions.sizes import NAMED_SIZES

PRICE_PER_MEGAPIXEL = 0.001  # dollars, the hosted price
RANDOM_SEED = -1  # as common front ends mean it
RANDOM_SEED_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One entry of the catalog."""

    slug: str
    title: str
    checkpoint: CheckpointKind
    input: type[ModelInput]
    default_size: str | None = (
        None  # a named size; None means the size of the first reference image
    )

    @property
    def is_edit(self) -> bool:
        """Return whether the model edits reference images."""
        return self.default_size is None

    def parse(self, raw_input: dict[str, Any]) -> ModelInput:
        """Check an input as a caller sent it. Raises InvalidInput that names every wrong field."""
        if raw_input.get("mask_url") and not self.is_edit:
            message = "there is no image to mask; send one too, to a model that edits images"
            raise InvalidInput(FieldProblem(field="mask_url", message=message))
        try:
            return self.input.model_validate(raw_input)
        except ValidationError as exc:
            raise InvalidInput(*problems_of(exc)) from None

    def settle(self, checked: ModelInput, random_seed: int) -> Parameters:
        """Decide what a checked input generates. `random_seed` counts if the caller named none."""
        default_size = NAMED_SIZES[self.default_size] if self.default_size else (None, None)
        width, height = checked.size or default_size
        seed = random_seed if checked.seed in {None, RANDOM_SEED} else checked.seed
        is_guided = self.checkpoint.is_guided
        return Parameters(
            width=width,
            height=height,
            steps=checked.num_inference_steps or self.checkpoint.default_steps,
            guidance=checked.guidance if is_guided else UNGUIDED,
            seeds=tuple(seed + k for k in range(checked.num_images)),
            negative_prompt=checked.negative if is_guided else "",
            loras=tuple(AppliedLora(path=lora.path, scale=lora.scale) for lora in checked.loras),
            strength=checked.change,
            metadata=Metadata(checked.metadata or Metadata.NONE),
            previews=checked.previews,
            output_format=OutputFormat(checked.output_format),
            output_quality=checked.output_quality or DEFAULT_QUALITY,
        )

    @property
    def request_schema(self) -> dict[str, Any]:
        """The input as plain JSON Schema with scalar types, for clients that check before sending."""
        return _request_schema(self)


@cache
def _request_schema(model: Model) -> dict[str, Any]:
    """Build the schema of a model once, because anyone may ask for it."""
    schema = model.input.model_json_schema()
    properties: dict[str, dict[str, Any]] = {
        name: {k: v for k, v in spec.items() if k != "title" and v is not None}
        for name, spec in schema["properties"].items()
    }
    properties["loras"] = LORAS_SCHEMA
    steps = properties["num_inference_steps"]
    steps["default"] = model.checkpoint.default_steps
    if model.default_size is not None:
        properties["image_size"]["default"] = model.default_size
    return {"type": "object", "required": schema["required"], "properties": properties}


def _models(name: str, title: str, kind: CheckpointKind) -> tuple[Model, Model]:
    """Return the two models of a checkpoint kind."""
    return (
        Model(
            slug=f"{name}-text-to-image",
            title=f"{title} Text to Image",
            checkpoint=kind,
            input=TextToImageInput,
            default_size="landscape_4_3",
        ),
        Model(
            slug=f"{name}-edit",
            title=f"{title} Edit",
            checkpoint=kind,
            input=BaseEditInput if kind.is_guided else EditInput,
        ),
    )


MODELS = {
    model.slug: model
    for model in (
        *_models("flux-2-klein-4b", "FLUX.2 [klein] 4B", CheckpointKind.DISTILLED),
        *_models("flux-2-klein-4b-base", "FLUX.2 [klein] 4B Base", CheckpointKind.BASE),
        *_models("flux-2-klein-9b", "FLUX.2 [klein] 9B", CheckpointKind.DISTILLED_9B),
        *_models("flux-2-klein-9b-base", "FLUX.2 [klein] 9B Base", CheckpointKind.BASE_9B),
    )
}


def find_model(slug: str, served: frozenset[CheckpointKind]) -> Model:
    """Return a model that the workers serve. Raises UnknownModel.

    Where only the base checkpoint of a model is served, its base model stands in.
    """
    model = MODELS.get(slug)
    if model is not None and model.checkpoint not in served:
        model = _substitute(model)
    if model is None or model.checkpoint not in served:
        raise UnknownModel(slug)
    return model


def _substitute(model: Model) -> Model | None:
    kind = model.checkpoint.substitute
    return next(
        (
            other
            for other in MODELS.values()
            if other.checkpoint is kind and other.is_edit == model.is_edit
        ),
        None,
    )


def parameters_of(prediction: Prediction) -> Parameters:
    """Return what a prediction generates. Records of klein 0.1 say it in their input alone."""
    if prediction.parameters is not None:
        return prediction.parameters
    model = MODELS[prediction.model]
    return model.settle(
        model.parse(prediction.input), random_seed=RANDOM_SEED
    )  # their input has a seed


def choose_seed() -> int:
    """Choose a random seed."""
    return secrets.randbits(RANDOM_SEED_BITS)


def price(sizes: list[tuple[int, int]]) -> float:
    """Return the price in dollars of images of these sizes in pixels."""
    return round(sum(w * h for w, h in sizes) / 1e6 * PRICE_PER_MEGAPIXEL, 6)

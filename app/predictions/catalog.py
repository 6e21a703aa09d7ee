"""The models that klein knows: slug, input fields, price; and what a checkpoint can serve."""

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.lora import LORAS_MAX, LORAS_SCHEMA, Lora, check_distinct
from app.predictions.problems import problems_of

PRICE_PER_MEGAPIXEL = 0.001  # dollars, the hosted price
PROMPT_MAX_LENGTH = 10_000  # characters; the text encoder keeps its first 512 tokens
REFERENCES_MAX = 4
SIDE_MIN = 64  # px
SIDE_MULTIPLE = 16  # px
PIXELS_MAX = 4 * 1024 * 1024
ASPECT_MAX = 8
DRAWN_SEED_BITS = 32
NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


class CheckpointKind(StrEnum):
    """The two kinds of FLUX.2 [klein] weights."""

    DISTILLED = "distilled"
    BASE = "base"

    @property
    def default_steps(self) -> int:
        """The denoising steps where the caller names none."""
        return 4 if self is CheckpointKind.DISTILLED else 28


def _normalised(values: Any) -> Any:
    """Take null for absent and, as JSON Schema does, 4.0 for 4."""
    if not isinstance(values, dict):
        return values
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in values.items()
        if value is not None
    }


class Size(BaseModel):
    """The pixels of the output, given as numbers."""

    model_config = ConfigDict(strict=True, frozen=True)
    _normalise = model_validator(mode="before")(_normalised)

    width: int = Field(ge=SIDE_MIN, multiple_of=SIDE_MULTIPLE)
    height: int = Field(ge=SIDE_MIN, multiple_of=SIDE_MULTIPLE)

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if self.width * self.height > PIXELS_MAX:
            raise ValueError(f"width x height may be at most {PIXELS_MAX} pixels")
        if max(self.width, self.height) > ASPECT_MAX * min(self.width, self.height):
            raise ValueError(f"the longer side may be at most {ASPECT_MAX} times the shorter")
        return self


class ModelInput(BaseModel):
    """What every klein model takes. Unknown fields are ignored, as the hosted service does."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")
    _normalise = model_validator(mode="before")(_normalised)

    prompt: str = Field(min_length=1, max_length=PROMPT_MAX_LENGTH, description="What to draw.")
    num_inference_steps: (
        Annotated[
            int,
            Field(ge=1, le=50, description="Denoising steps; the checkpoint decides if absent."),
        ]
        | SkipJsonSchema[None]
    ) = None
    image_size: (
        Annotated[
            Literal[
                "square_hd",
                "square",
                "portrait_4_3",
                "portrait_16_9",
                "landscape_4_3",
                "landscape_16_9",
            ],
            Field(description="A named size, or an object of width and height in multiples of 16."),
        ]
        | SkipJsonSchema[Size | None]
    ) = None
    num_images: int = Field(1, ge=1, le=4, description="How many pictures.")
    acceleration: Literal["none", "regular", "high"] = Field(
        "regular", description="Accepted for compatibility."
    )
    seed: (
        Annotated[
            int,
            Field(
                ge=-(2**63),
                le=2**63 - 1,
                description="The same seed and input draw the same picture.",
            ),
        ]
        | SkipJsonSchema[None]
    ) = None
    output_format: Literal["jpeg", "png", "webp"] = Field("png", description="The file format.")
    output_quality: (
        Annotated[int, Field(ge=1, le=100, description="JPEG and WebP quality.")]
        | SkipJsonSchema[None]
    ) = None
    loras: Annotated[list[Lora], AfterValidator(check_distinct)] = Field(
        [], max_length=LORAS_MAX, description=LORAS_SCHEMA["description"]
    )
    enable_safety_checker: bool = Field(True, description="Accepted for compatibility.")
    sync_mode: bool = Field(False, description="Return data URIs instead of URLs.")

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("must not be blank")
        return prompt

    @property
    def references(self) -> tuple[str, ...]:
        """The input images as the caller named them."""
        return ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None follows the first reference."""
        match self.image_size:
            case None:
                return None
            case Size(width=width, height=height):
                return width, height
            case name:
                return NAMED_SIZES[name]

    @property
    def guidance(self) -> float:
        """The guidance scale for checkpoints that honour one."""
        return 5.0

    @property
    def negative(self) -> str:
        """The negative prompt for checkpoints that honour one."""
        return ""


class TextToImageInput(ModelInput):
    """A prompt alone."""

    negative_prompt: str = Field(
        "",
        max_length=PROMPT_MAX_LENGTH,
        description="What to avoid; distilled checkpoints ignore it.",
    )
    guidance_scale: float = Field(
        5.0,
        ge=0,
        le=20,
        allow_inf_nan=False,
        description="How closely to follow the prompt; distilled checkpoints ignore it.",
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels."""
        return super().size or NAMED_SIZES["landscape_4_3"]

    @property
    def guidance(self) -> float:
        """What the caller asked for."""
        return self.guidance_scale

    @property
    def negative(self) -> str:
        """What the caller asked to avoid."""
        return self.negative_prompt


class EditInput(ModelInput):
    """A prompt and the images that it speaks of."""

    image_urls: list[str] = Field(
        min_length=1, max_length=REFERENCES_MAX, description="1 to 4 images: URLs or data URIs."
    )

    @property
    def references(self) -> tuple[str, ...]:
        """The input images as the caller named them."""
        return tuple(self.image_urls)


class BaseEditInput(EditInput, TextToImageInput):
    """An edit by a base checkpoint, which honours guidance and a negative prompt."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None follows the first reference."""
        return ModelInput.size.fget(self)  # type: ignore[attr-defined, no-any-return]  # a property


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

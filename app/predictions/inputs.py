"""The inputs of the models: which fields each takes, and within which limits."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from app.predictions.json_values import normalised
from app.predictions.lora import LORAS_MAX, LORAS_SCHEMA, Lora, check_distinct
from app.predictions.sizes import NAMED_SIZES, SIDE_MAX, SIDE_MIN, size_problem
from app.predictions.visible_text import is_blank

PROMPT_MAX_LENGTH = 10_000  # characters; the text encoder keeps its first 512 tokens
REFERENCES_MAX = 4
IMAGES_MAX = 4  # of one prediction
STRENGTH_MIN = 0.01  # OpenAPI 3.0 cannot express "above 0" as JSON Schema does


class Size(BaseModel):
    """The pixels of the output, given as numbers."""

    model_config = ConfigDict(strict=True, frozen=True)
    _normalise = model_validator(mode="before")(normalised)

    width: int = Field(ge=SIDE_MIN, le=SIDE_MAX)
    height: int = Field(ge=SIDE_MIN, le=SIDE_MAX)

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if problem := size_problem(self.width, self.height):
            raise ValueError(problem)
        return self


class ModelInput(BaseModel):
    """The fields of every klein model. Unknown fields are ignored, as the hosted service does."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    prompt: str = Field(
        min_length=1, max_length=PROMPT_MAX_LENGTH, description="Describes the image."
    )
    num_inference_steps: (
        Annotated[
            int,
            Field(
                ge=1, le=50, description="Denoising steps. The default depends on the checkpoint."
            ),
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
    num_images: int = Field(1, ge=1, le=IMAGES_MAX, description="Number of images.")
    acceleration: Literal["none", "regular", "high"] = Field(
        "regular", description="Accepted for compatibility."
    )
    seed: (
        Annotated[
            int,
            Field(
                ge=-(2**63),
                le=2**63 - 1,
                description="The same seed and input give the same image. -1 or none: random.",
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
    metadata: (
        Annotated[
            Literal["none", "seed", "full"],
            Field(
                description="What the image file says: nothing, the seed and settings, or the prompt too. "
                "The default is that of the server."
            ),
        ]
        | SkipJsonSchema[None]
    ) = None
    previews: bool = Field(False, description="Send preview images on the event stream.")
    sync_mode: bool = Field(False, description="Return data URIs instead of URLs.")

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if is_blank(prompt):
            raise ValueError("must not be blank")
        return prompt

    @property
    def reference_urls(self) -> tuple[str, ...]:
        """The reference images, as URLs or data URIs."""
        return ()

    @property
    def mask(self) -> str | None:
        """The mask of the first reference image, as a URL or data URI."""
        return None

    @property
    def change(self) -> float:
        """How much the first reference image may change, 1 for no limit."""
        return 1.0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, or None if the caller named no size."""
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
    def guidance(self) -> float:
        """The guidance scale of the caller."""
        return self.guidance_scale

    @property
    def negative(self) -> str:
        """The negative prompt of the caller."""
        return self.negative_prompt


class EditInput(ModelInput):
    """A prompt and its reference images."""

    image_urls: list[str] = Field(
        min_length=1, max_length=REFERENCES_MAX, description="1 to 4 images: URLs or data URIs."
    )
    mask_url: (
        Annotated[
            str,
            Field(
                description="The part of the first image to redraw, in white; a URL or data URI."
            ),
        ]
        | SkipJsonSchema[None]
    ) = None
    strength: float = Field(
        1.0,
        ge=STRENGTH_MIN,
        le=1,
        allow_inf_nan=False,
        description="How much the first image may change. Below 1 the result starts from it.",
    )

    @property
    def reference_urls(self) -> tuple[str, ...]:
        """The reference images, as URLs or data URIs."""
        return tuple(self.image_urls)

    @property
    def mask(self) -> str | None:
        """The mask of the first reference image, as a URL or data URI."""
        return self.mask_url or None

    @property
    def change(self) -> float:
        """How much the first reference image may change, 1 for no limit."""
        return self.strength


class BaseEditInput(EditInput, TextToImageInput):
    """An edit by a base checkpoint, which honours guidance and a negative prompt."""

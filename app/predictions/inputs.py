"""The inputs of the models: which fields each takes, and within which limits."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from app.predictions.lora import LORAS_MAX, LORAS_SCHEMA, Lora, check_distinct

PROMPT_MAX_LENGTH = 10_000  # characters; the text encoder keeps its first 512 tokens
REFERENCES_MAX = 4
SIDE_MIN = 64  # px
SIDE_MULTIPLE = 16  # px
PIXELS_MAX = 4 * 1024 * 1024
ASPECT_MAX = 8
NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


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
    num_images: int = Field(1, ge=1, le=4, description="Number of images.")
    acceleration: Literal["none", "regular", "high"] = Field(
        "regular", description="Accepted for compatibility."
    )
    seed: (
        Annotated[
            int,
            Field(
                ge=-(2**63),
                le=2**63 - 1,
                description="The same seed and input give the same image.",
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
    previews: bool = Field(False, description="Send preview images on the event stream.")
    sync_mode: bool = Field(False, description="Return data URIs instead of URLs.")

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("must not be blank")
        return prompt

    @property
    def reference_urls(self) -> tuple[str, ...]:
        """The reference images, as URLs or data URIs."""
        return ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None if the caller named no size."""
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

    @property
    def reference_urls(self) -> tuple[str, ...]:
        """The reference images, as URLs or data URIs."""
        return tuple(self.image_urls)


class BaseEditInput(EditInput, TextToImageInput):
    """An edit by a base checkpoint, which honours guidance and a negative prompt."""

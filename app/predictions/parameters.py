"""What a prediction generates, with every default decided; pure.

The prompt is not here: it may be long, and the record has it in `input`.
"""

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_QUALITY = 95


class OutputFormat(StrEnum):
    """The file formats of output images."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """The media type, such as image/png."""
        return f"image/{self}"

    @property
    def suffix(self) -> str:
        """The end of a file name, without the dot."""
        return "jpg" if self is OutputFormat.JPEG else str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLora:
    """One LoRA and its strength."""

    path: str  # the name of a file in the operator's folder
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the worker needs besides the prompt and the reference images.

    Stored in the record. A field that is added later needs a default, which older records get.
    """

    width: int | None  # px; None, then height too: the size of the first reference image
    height: int | None  # px
    steps: int
    guidance: float
    seeds: tuple[int, ...]  # one for each output image
    negative_prompt: str = ""
    loras: tuple[AppliedLora, ...] = ()
    previews: bool = False
    output_format: OutputFormat = OutputFormat.PNG
    output_quality: int = DEFAULT_QUALITY  # 1 to 100; PNG ignores it

"""What a prediction generates, with every default decided. Does no I/O.

The prompt is not here: it may be long, and the record has it in `input`.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.generation_text import Metadata

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

    path: str  # the name of a file in the operator's folder, or where it was fetched from
    scale: float
    key: str = ""  # the storage key of a fetched file


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
    strength: float = 1.0  # how much the first reference image may change; below 1 it is the start
    previews: bool = False
    output_format: OutputFormat = OutputFormat.PNG
    output_quality: int = DEFAULT_QUALITY  # 1 to 100; PNG ignores it
    metadata: Metadata = Metadata.NONE

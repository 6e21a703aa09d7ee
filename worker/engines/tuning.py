"""Holds the operator's choices for an engine: quantisation, compilation, warm-up, batch size."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self


class Quantization(StrEnum):
    """Names the number format of the transformer blocks' weights and matrix products."""

    NONE = "none"
    FP8 = "fp8"
    NVFP4 = "nvfp4"


class Compile(StrEnum):
    """Says whether to compile the model with torch.compile."""

    AUTO = "auto"
    """On a GPU. If compilation fails, the engine runs eagerly."""
    ON = "on"
    """Always. If compilation fails, the engine does not start."""
    OFF = "off"

    def is_enabled_on(self, device_type: str) -> bool:
        """Return whether to compile on a device of this torch type, such as `cuda`."""
        return self is Compile.ON or (self is Compile.AUTO and device_type == "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Holds one operator's choices. The defaults work on every machine."""

    quantization: Quantization = Quantization.NONE
    compile: Compile = Compile.AUTO
    warm_sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of the warm-up images. Empty: the checkpoint's native size."""

    safety_checker: Path | None = None
    """Folder of an image classifier that checks reference images and output images."""

    batch: int = 1
    """Largest number of images in one call, if the memory holds so many."""

    def to_json(self) -> str:
        """Serialise the options for the engine process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `to_json` returned."""
        raw = json.loads(text)
        return cls(
            quantization=Quantization(raw["quantization"]),
            compile=Compile(raw["compile"]),
            warm_sizes=tuple((width, height) for width, height in raw["warm_sizes"]),
            safety_checker=Path(checker) if (checker := raw["safety_checker"]) else None,
            batch=raw["batch"],
        )

"""How the operator wants the engine to run on this machine: precision, compiling, what is warmed up."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self


class Quantization(StrEnum):
    """In which numbers the transformer's blocks multiply."""

    NONE = "none"
    FP8 = "fp8"
    NVFP4 = "nvfp4"


class Compile(StrEnum):
    """Whether the model is compiled before it serves."""

    AUTO = "auto"
    """On a GPU; where it fails there, the engine serves without."""
    ON = "on"
    OFF = "off"

    def is_wanted_on(self, device_type: str) -> bool:
        """Tell whether a device of torch's type gets a compiled model."""
        return self is Compile.ON or (self is Compile.AUTO and device_type == "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """One operator's choices; the defaults suit every machine."""

    quantization: Quantization = Quantization.NONE
    compile: Compile = Compile.AUTO
    warm_sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of what is drawn before the engine is ready; none: the checkpoint's own."""

    safety_checker: Path | None = None
    """Folder of the image classifier that what is drawn must pass."""

    batch: int = 1
    """Most pictures that are drawn at once, where the memory holds so many."""

    def to_json(self) -> str:
        """Give the text that crosses to the engine process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        return cls(
            quantization=Quantization(raw["quantization"]),
            compile=Compile(raw["compile"]),
            warm_sizes=tuple((width, height) for width, height in raw["warm_sizes"]),
            safety_checker=Path(checker) if (checker := raw["safety_checker"]) else None,
            batch=raw["batch"],
        )

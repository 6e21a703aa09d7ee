"""Holds the operator's choices for an engine: device, components, quantisation, compilation, warm-up, batch size."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from worker.engines.tensor_names import Component


class Quantization(StrEnum):
    """Names the number format of the transformer blocks' weights and matrix products."""

    NONE = "none"
    FP8 = "fp8"
    NVFP4 = "nvfp4"
    INT8 = "int8"
    INT8_WEIGHT_ONLY = "int8-weight-only"
    """Multiplies in bfloat16. Saves memory, but no time."""


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


class DeviceChoice(StrEnum):
    """Names the kind of device that the engine uses."""

    AUTO = "auto"
    """A GPU if there is one. A GPU of NVIDIA that torch cannot use is an error."""
    CUDA = "cuda"
    CPU = "cpu"
    MPS = "mps"
    """The GPU of a Mac. Not chosen by `auto`, because nobody has seen it work yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Holds one operator's choices. The defaults work on every machine."""

    device: DeviceChoice = DeviceChoice.AUTO
    quantization: Quantization = Quantization.NONE
    text_encoder_quantization: Quantization = Quantization.NONE
    compile: Compile = Compile.AUTO
    warm_sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of the warm-up images. Empty means the checkpoint's native size."""

    safety_checker: Path | None = None
    """Folder of an image classifier that checks reference images and output images."""

    batch: int = 1
    """Largest number of images in one call, if the memory holds so many."""

    transformer: Path | None = None
    """File or folder of a component that replaces the checkpoint's own. So are the next two."""
    text_encoder: Path | None = None
    vae: Path | None = None

    @property
    def components(self) -> dict[Component, Path]:
        """Return the components that replace those of the checkpoint."""
        paths = {
            Component.TRANSFORMER: self.transformer,
            Component.TEXT_ENCODER: self.text_encoder,
            Component.VAE: self.vae,
        }
        return {component: path for component, path in paths.items() if path is not None}

    def unsupported_on(self, device_type: str) -> str | None:
        """Return the setting that cannot be used on a device of this torch type, and None if there is none."""
        if device_type != "mps":
            return None
        if self.quantization is not Quantization.NONE:
            return f"KLEIN_QUANTIZATION={self.quantization}"
        if self.text_encoder_quantization is not Quantization.NONE:
            return f"KLEIN_TEXT_ENCODER_QUANTIZATION={self.text_encoder_quantization}"
        return f"KLEIN_COMPILE={self.compile}" if self.compile is Compile.ON else None

    def to_json(self) -> str:
        """Serialise the options for the engine process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `to_json` returned."""
        raw = json.loads(text)
        return cls(
            device=DeviceChoice(raw["device"]),
            quantization=Quantization(raw["quantization"]),
            text_encoder_quantization=Quantization(raw["text_encoder_quantization"]),
            compile=Compile(raw["compile"]),
            warm_sizes=tuple((width, height) for width, height in raw["warm_sizes"]),
            batch=raw["batch"],
            **{
                name: Path(raw[name]) if raw[name] else None
                for name in ("safety_checker", "transformer", "text_encoder", "vae")
            },
        )

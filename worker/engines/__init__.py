"""Defines the engine interface: orders, results, callbacks, and `open_engine`.

This module imports no torch, because the worker process imports it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.loras.transformer import TransformerSize
from app.predictions.checkpoint_kind import CheckpointKind
from worker.engines.errors import (
    Cancelled,
    DeviceLost,
    EngineError,
    EngineFault,
    OutOfMemory,
    TimedOut,
    UnusableLora,
    UnusableSetting,
    WeightsError,
    Withheld,
)
from worker.engines.tuning import Tuning

__all__ = [
    "Cancelled",
    "Checkpoint",
    "DeviceLost",
    "Engine",
    "EngineError",
    "EngineFault",
    "ImageArray",
    "Lora",
    "OnPreview",
    "OnStatus",
    "OnStep",
    "Order",
    "OutOfMemory",
    "Result",
    "TimedOut",
    "Tuning",
    "UnusableLora",
    "UnusableSetting",
    "WeightsError",
    "Withheld",
    "open_engine",
]

ImageArray = npt.NDArray[np.uint8]
"""RGB pixels, height x width x 3."""

OnStep = Callable[[int, int], None]
"""Called with (k, n) after step k of the order's n steps over all its images. Raises `Cancelled` to stop."""

OnPreview = Callable[[ImageArray], None]
"""Called with a preview of a step, before `OnStep` is called for that step."""

OnStatus = Callable[[str], None]
"""Called with one line of text for each thing that the engine does or decides while it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Names a LoRA file and its strength."""

    path: str
    """The name of a file in the worker's LoRA folder, or where the file was fetched from."""
    scale: float
    """Multiplies the LoRA's weight changes. 0 changes nothing."""
    file: str = ""
    """The path of a fetched file. Empty means `path` is a name in the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Describes the images to generate. All values were validated before."""

    prompt: str
    width: int | None
    """Pixels. None, for both sides, means the size of the first reference image."""
    height: int | None
    steps: int
    guidance: float
    """Scale of classifier-free guidance. 1.0 turns it off, as for every order of a distilled checkpoint."""
    seeds: tuple[int, ...]
    """One per image, any int64 or uint64."""
    reference_files: tuple[bytes, ...] = ()
    """Reference images, as PNG, JPEG, WebP or AVIF files."""
    mask_file: bytes = b""
    """Mask of the first reference image, as a grey PNG of any size: white is redrawn. Empty means all is redrawn."""
    strength: float = 1.0
    """How much the first reference image may change, above 0. Below 1 the denoising starts from that image."""
    negative_prompt: str = ""
    """Used only by a base checkpoint with guidance above 1."""
    loras: tuple[Lora, ...] = ()
    """No file twice."""
    previews: bool = False
    """Whether to send previews."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Holds the images of one order, in the order of its seeds."""

    images: tuple[ImageArray, ...]
    notes: tuple[str, ...]
    """Sentences for the caller, for example that the prompt was truncated."""
    generate_s: float
    cached_bytes: int = 0
    """Memory of the host that the engine's caches take, after this order."""
    numerics: str = ""
    """What the bytes of the images depend on beside the order: weights, device, libraries, number formats and kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Describes the loaded weights. All values can be sent as JSON."""

    name: str
    description: str
    licence: str
    revision: str
    """Changes whenever the weights change. A seed gives the same image only within one revision."""
    kind: CheckpointKind
    dtype: str
    device: str
    max_sequence_length: int
    """Tokens of a prompt, chat template included."""
    native_size: int
    """Side in pixels of the square image that the model generates best."""
    largest_size: int
    """Longest side in pixels."""
    render_scaled: bool
    """Whether images are generated at about native_size² pixels and resized to the requested size."""
    transformer: TransformerSize | None = None
    """Which LoRAs fit."""
    batch: int = 1
    """Largest number of images of the native size that one call generates. Known after `warm_up`."""
    memory_bytes: int = 0
    """Peak memory of the engine process on its device. 0 means unknown."""
    free_bytes: int = 0
    """Memory that the device had free before the weights were loaded. 0 means unknown."""
    takes_minutes: bool = False
    """Whether an image of the native size takes longer than a minute, as that of a large model does on a CPU."""

    @property
    def label(self) -> str:
        """What operators see: the description, or the name if there is none."""
        return self.description or self.name


class Engine(Protocol):
    """Generates images with a loaded model, one call at a time."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the loaded weights' description. Its `batch` is final after `warm_up`."""

    def warm_up(self) -> None:
        """Generate and discard test images, so that the first request does not wait for compilation."""

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Generate the images of one order. Previews are computed only if `on_preview` is set.

        The same order gives the same pixels on the same device and number of threads. The image of a seed
        does not depend on the other seeds. Raises the errors of `worker.engines.errors`. The engine stays
        usable after all of them except `DeviceLost`.
        """

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Generate one image for each order in one call. None means: call `generate` for that order.

        The orders must be compatible (see `worker.job.batching`). Each image equals that of `generate`
        within floating-point noise. `on_step` is called for each step of the whole batch. `on_previews` has
        an entry for each order, or none at all. Raises what `generate` raises, but never retries: after an error
        the caller generates each order alone.
        """


def open_engine(
    weights: Path,
    loras: Path | None = None,
    tuning: Tuning | None = None,
    on_status: OnStatus = lambda _line: None,
    *,
    owns_process: bool = False,
) -> Engine:
    """Load a checkpoint onto the best device of this machine.

    `loras` is the folder that contains the LoRA files. An engine that owns its process leaves out the parts of torch and
    diffusers that it does not use, for the whole process. Raises `WeightsError` and `UnusableSetting`.
    """
    from worker.engines.folder import inspect_folder

    tuning = tuning or Tuning()
    checker = tuning.safety_checker
    if checker is not None and not (checker / "config.json").is_file():
        raise UnusableSetting(
            f"KLEIN_SAFETY_CHECKER: {checker} has no config.json. "
            "Set it to the folder of a transformers image classifier"
        )
    folder = inspect_folder(
        weights, tuning.components
    )  # before torch is imported, so that a bad folder fails fast

    if owns_process:
        from worker.engines.lazy_packages import load_lazily
        from worker.engines.unused_torch import leave_out

        leave_out(tuning)
        load_lazily()

    from worker.engines.flux2_klein import Flux2KleinEngine

    engine = Flux2KleinEngine(folder, loras, tuning, on_status)
    if checker is None:
        return engine

    from worker.engines.safety import SafetyCheckedEngine, SafetyChecker

    on_status("safety checker")
    return SafetyCheckedEngine(engine, SafetyChecker(checker, tuning.device))

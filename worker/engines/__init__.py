"""What an engine is: the order it takes, the pictures it returns, and how one is opened.

No torch here: the process that only drives an engine imports this module too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

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
    "Lora",
    "OnPreview",
    "OnStep",
    "Order",
    "OutOfMemory",
    "Picture",
    "Result",
    "Say",
    "TimedOut",
    "Tuning",
    "UnusableLora",
    "UnusableSetting",
    "WeightsError",
    "Withheld",
    "open_engine",
]

Picture = npt.NDArray[np.uint8]
"""RGB pixels, height x width x 3."""

OnStep = Callable[[int, int], None]
"""Hears (k, n) after step k of the order's n steps over all its images; raises `Cancelled` to stop."""

OnPreview = Callable[[Picture], None]
"""Hears what the picture looks like after a step, small, before that step is told."""

Say = Callable[[str], None]
"""Hears what the engine does and decides while it starts, one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One LoRA that an order draws with."""

    path: str
    """The name of a file in the worker's folder of LoRAs."""
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to draw; everything in it was checked before."""

    prompt: str
    width: int | None
    """Pixels; None (then height too): the first reference's own size."""
    height: int | None
    steps: int
    guidance: float
    """1.0 without guidance, as for every order of a distilled checkpoint."""
    seeds: tuple[int, ...]
    """One per image; any int64 or uint64."""
    references: tuple[bytes, ...] = ()
    """PNG, JPEG or WebP files."""
    negative_prompt: str = ""
    """Only a base checkpoint with guidance above 1 reads it."""
    loras: tuple[Lora, ...] = ()
    """Each file once."""
    previews: bool = False
    """Show the picture as it comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The pictures of one order, in the order of its seeds."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]
    """Sentences for the caller, such as that the prompt was cut."""
    generate_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Which weights are being served; plain JSON values only."""

    name: str
    description: str
    licence: str
    revision: str
    """Changes whenever the weights do; the same seed means the same picture only within one revision."""
    kind: CheckpointKind
    dtype: str
    device: str
    max_sequence_length: int
    native_size: int
    largest_size: int
    """Pixels per side."""
    render_scaled: bool
    """True: pictures are drawn near native_size² pixels and scaled to the size that was asked for."""
    batch: int = 1
    """So many pictures of the native size may be drawn at once."""


class Engine(Protocol):
    """A model that is loaded and draws one order at a time."""

    @property
    def checkpoint(self) -> Checkpoint:
        """What it serves; `batch` is known once it is warm."""

    def warm_up(self) -> None:
        """Draw once and throw it away, so that the first caller does not pay for it."""

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Draw the order; previews are drawn where somebody hears them.

        The same order gives the same pixels on the same device and number of threads, and the picture of seed s does not depend on
        the other seeds. Raises what `worker.engines.errors` names; after all of it but `DeviceLost`
        the engine stays usable.
        """

    def draw_together(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Draw orders that agree (see `worker.job.batching`) in one call; None is one that must be drawn alone.

        Each picture is what `generate` draws, within float noise. `on_step` hears each step of all, and who
        looks at an order hears the previews of that one; empty means that nobody does. Raises what `generate`
        raises, without a second attempt: then each is to be drawn alone.
        """


def open_engine(
    weights: Path,
    loras: Path | None = None,
    tuning: Tuning | None = None,
    say: Say = lambda _line: None,
) -> Engine:
    """Load the weights folder onto the best device of this machine.

    `loras` is the folder whose files an order's LoRAs name. Raises `WeightsError` and
    `UnusableSetting`.
    """
    from worker.engines.folder import inspect_folder

    tuning = tuning or Tuning()
    checker = tuning.safety_checker
    if checker is not None and not (checker / "config.json").is_file():
        raise UnusableSetting(f"KLEIN_SAFETY_CHECKER: {checker} has no config.json")
    folder = inspect_folder(weights)  # before torch: what is wrong with a folder shows at once

    from worker.engines.flux2_klein import Flux2Klein

    engine = Flux2Klein(folder, loras, tuning, say)
    if checker is None:
        return engine

    from worker.engines.safety import CheckedEngine, SafetyChecker

    say("safety checker")
    return CheckedEngine(engine, SafetyChecker(checker))

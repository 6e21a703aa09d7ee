"""An engine process without a model, for a fast start: `EngineClient(…, module="tests.support.fake_engine_process")`.

The prompt says what happens after each step: "slow" waits 50 ms, "hang" blocks forever, "die" ends the
process, "out of memory" and "fault" fail, "device lost" behaves like a broken GPU.
"""

import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from app.predictions.checkpoint_kind import CheckpointKind
from worker.engine_process.main import main
from worker.engines import (
    Checkpoint,
    DeviceLost,
    EngineFault,
    ImageArray,
    OnPreview,
    OnStatus,
    OnStep,
    Order,
    OutOfMemory,
    Result,
    Tuning,
    UnusableLora,
)
from worker.engines.errors import WeightsError


class FakeEngine:
    """Generates images of one colour, chosen by prompt and seed."""

    checkpoint = Checkpoint(
        name="fake",
        description="no model",
        licence="Apache-2.0",
        revision="0",
        kind=CheckpointKind.DISTILLED,
        dtype="float32",
        device="cpu",
        max_sequence_length=512,
        native_size=64,
        largest_size=2048,
        render_scaled=False,
    )

    def warm_up(self) -> None:
        """Do nothing."""

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Do what the prompt says at each step."""
        started = time.perf_counter()
        pictures = []
        for index, seed in enumerate(order.seeds):
            for step in range(order.steps):
                self._act(order.prompt)
                if on_preview is not None:
                    on_preview(_paint(order, seed, 2, 3))
                on_step(index * order.steps + step + 1, order.steps * len(order.seeds))
            pictures.append(_paint(order, seed, order.height or 64, order.width or 64))
        return Result(images=tuple(pictures), notes=(), generate_s=time.perf_counter() - started)

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Do what each prompt says at each step. "poor" produces an image only when it is alone."""
        for step in range(orders[0].steps):
            for order, hear in zip_longest(orders, on_previews):
                self._act(order.prompt)
                if hear is not None:
                    hear(_paint(order, order.seeds[0], 2, 3))
            on_step(step + 1, orders[0].steps)
        return tuple(
            None
            if "poor" in order.prompt
            else self.generate(replace(order, steps=0), lambda _k, _n: None)
            for order in orders
        )

    def _act(self, prompt: str) -> None:
        if "slow" in prompt:
            threading.Event().wait(0.05)
        if "hang" in prompt:
            threading.Event().wait()
        if "die" in prompt:
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            raise SystemExit(3)
        if "out of memory" in prompt:
            raise OutOfMemory
        if "unusable lora" in prompt:
            raise UnusableLora("LoRA x.safetensors: no")
        if "fault" in prompt:
            raise EngineFault("a fault")
        if "device lost" in prompt:
            raise DeviceLost


def _paint(order: Order, seed: int, height: int, width: int) -> ImageArray:
    digest = hashlib.sha256(f"{order.prompt} {seed}".encode()).digest()
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = np.frombuffer(digest, np.uint8, 3)
    return picture


def open_fake(weights: Path, loras: Path | None, tuning: Tuning, on_status: OnStatus) -> FakeEngine:
    """Open the fake. A folder named "broken" is refused, "endless" never finishes loading. Reports the tuning it received."""
    on_status(tuning.to_json())
    if weights.name == "endless":
        threading.Event().wait()
    if weights.name == "broken":
        raise WeightsError(f"{weights} is broken")
    engine = FakeEngine()
    engine.checkpoint = replace(engine.checkpoint, batch=tuning.batch)
    return engine


if __name__ == "__main__":
    sys.exit(main(open_fake))

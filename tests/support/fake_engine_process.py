"""An engine process without a model, for a fast start: `EngineClient(…, module="tests.support.fake_engine_process")`.

The prompt says what happens after each step: "slow" waits 50 ms, "hang" blocks forever after two steps, "dawdle" works for some seconds before the first step and after the last, "die" ends the
process, "out of memory" and "fault" fail, "device lost" behaves like a broken GPU, "gaps" frees the memory before a block that it keeps, "layers" takes large blocks and frees them, "no room" leaves none for the images.
"""

import hashlib
import json
import resource
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

GAPS_BYTES = 64 * 1024**2
LAYERS, LAYER_BYTES = 15, 2 * 1024**2
"""Together more than glibc keeps of blocks of this size, and less than the engine process keeps."""
IDLE_S = 0.5
_ANY = resource.RLIM_INFINITY
DAWDLE_S = 2.5
"""Longer than two seconds, which was once the limit."""


class FakeEngine:
    """Generates images of one colour, chosen by prompt and seed."""

    _steps = 0
    _block: ImageArray | None = None
    folder = Path()
    """Where a file "drift.flag" makes every image another one, as damaged memory does."""

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
        """Free memory as with the prompt "gaps" if there is a file "gaps.flag", else do nothing."""
        if (self.folder / "gaps.flag").exists():
            self._leave_gaps()

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Do what the prompt says at each step."""
        started = time.perf_counter()
        images = []
        if "dawdle" in order.prompt:
            threading.Event().wait(DAWDLE_S)
        for index, seed in enumerate(order.seeds):
            for step in range(order.steps):
                self._act(order.prompt)
                if on_preview is not None:
                    on_preview(_image_of(order, seed, 2, 3))
                on_step(index * order.steps + step + 1, order.steps * len(order.seeds))
            image = _image_of(order, seed, order.height or 64, order.width or 64)
            images.append(255 - image if (self.folder / "drift.flag").exists() else image)
        if "dawdle" in order.prompt:
            threading.Event().wait(DAWDLE_S)
        return Result(images=tuple(images), notes=(), generate_s=time.perf_counter() - started)

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Do what each prompt says at each step. "poor" produces an image only when it is alone."""
        for step in range(orders[0].steps):
            for order, send_preview in zip_longest(orders, on_previews):
                self._act(order.prompt)
                if send_preview is not None:
                    send_preview(_image_of(order, order.seeds[0], 2, 3))
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
            self._hang()
        if "die" in prompt:
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            raise SystemExit(3)
        if "gaps" in prompt:
            self._leave_gaps()
        if "layers" in prompt:
            _take_layers()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if "no room" in prompt else _ANY, _ANY))
        if "out of memory" in prompt:
            raise OutOfMemory
        if "unusable lora" in prompt:
            raise UnusableLora("LoRA x.safetensors: no")
        if "fault" in prompt:
            raise EngineFault("a fault")
        if "device lost" in prompt:
            raise DeviceLost

    def _hang(self) -> None:
        self._steps += 1
        if self._steps > 2:  # the second step told how long one takes
            threading.Event().wait()

    def _leave_gaps(self) -> None:
        size_bytes = 64 * 1024  # larger blocks are returned to the system one by one
        blocks = [np.ones(size_bytes, np.uint8) for _ in range(GAPS_BYTES // size_bytes)]
        self._block = blocks[-1]


def _take_layers() -> None:
    blocks = [np.ones(LAYER_BYTES, np.uint8) for _ in range(LAYERS)]
    del blocks


def _image_of(order: Order, seed: int, height: int, width: int) -> ImageArray:
    digest = hashlib.sha256(f"{order.prompt} {seed}".encode()).digest()
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.frombuffer(digest, np.uint8, 3)
    return image


def open_fake(weights: Path, loras: Path | None, tuning: Tuning, on_status: OnStatus) -> FakeEngine:
    """Open the fake. Reports the tuning it received. The folder of a base checkpoint makes it one.

    A folder named "broken", or with a file "broken.flag" in it, is refused. One named "endless", or with a file
    "endless.flag" in it, never finishes loading. A file "dying.flag" ends the process while it loads. A file
    "minutes.flag" makes the engine claim to take minutes for an image.
    """
    on_status(tuning.to_json())
    if weights.name == "endless" or (weights / "endless.flag").exists():
        threading.Event().wait()
    if (weights / "dying.flag").exists():
        raise SystemExit(3)
    if weights.name == "broken" or (weights / "broken.flag").exists():
        raise WeightsError(f"{weights} is broken")
    engine = FakeEngine()
    engine.folder = weights
    engine.checkpoint = replace(
        engine.checkpoint,
        batch=tuning.batch,
        kind=_kind_in(weights),
        takes_minutes=(weights / "minutes.flag").exists(),
    )
    return engine


def _kind_in(weights: Path) -> CheckpointKind:
    index = weights / "model_index.json"
    is_base = index.exists() and not json.loads(index.read_text()).get("is_distilled")
    return CheckpointKind.BASE if is_base else CheckpointKind.DISTILLED


if __name__ == "__main__":
    sys.exit(main(open_fake, IDLE_S))

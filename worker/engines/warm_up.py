"""What is drawn before an engine is ready, so that no caller pays for the first of anything."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from worker.engines import Order, Say
from worker.engines.manifest import Manifest
from worker.engines.sizes import SMALLEST_SIDE
from worker.engines.tuning import Tuning

PROMPT = "a red house under a tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """One picture to draw."""

    name: str
    order: Order


def plan_warm_up(
    tuning: Tuning, manifest: Manifest, *, is_compiled: bool, is_slow: bool
) -> tuple[Warm, ...]:
    """Choose what is drawn.

    Compiled, the second size makes the code for any size, and an edit the code of references.
    `is_slow`: a picture of the native size would take minutes on this device.
    """
    side = SMALLEST_SIDE if is_slow else manifest.native_size
    sizes = tuning.warm_sizes or ((side, side), (side, side * 3 // 4))
    if not is_compiled:
        sizes = tuning.warm_sizes or sizes[:1]
    plan = [Warm(name=f"{width}x{height}", order=_order(width, height)) for width, height in sizes]
    if is_compiled:
        width, height = sizes[0]
        edit = _order(width, height, references=(_reference(width, height),))
        plan.append(Warm(name=f"an edit of {width}x{height}", order=edit))
    return tuple(plan)


def draw_all(plan: tuple[Warm, ...], draw: Callable[[Order], object], say: Say) -> None:
    """Draw the plan and say how far it is."""
    for number, warm in enumerate(plan, 1):
        started = time.perf_counter()
        draw(warm.order)
        took = time.perf_counter() - started
        say(f"warm-up {number} of {len(plan)}: {warm.name} took {took:.1f} s")


def _order(width: int, height: int, references: tuple[bytes, ...] = ()) -> Order:
    return Order(
        prompt=PROMPT,
        width=width,
        height=height,
        steps=1,
        guidance=1.0,
        seeds=(0,),
        references=references,
    )


def _reference(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((width, height)).save(file, "PNG")
    return file.getvalue()

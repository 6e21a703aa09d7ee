"""Chooses the test images that an engine generates before it is ready."""

import io
from dataclasses import dataclass

from PIL import Image

from worker.engines import Order
from worker.engines.manifest import Manifest
from worker.engines.sizes import MIN_SIDE
from worker.engines.tuning import Tuning

PROMPT = "a red house under a tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpImage:
    """Describes one image to generate."""

    name: str
    order: Order


def choose_warm_up_images(
    tuning: Tuning, manifest: Manifest, *, is_compiled: bool, is_slow: bool
) -> tuple[WarmUpImage, ...]:
    """Return the images to generate, at least one.

    A compiled model needs a second size, which triggers the graph for any size, and an edit, which triggers
    the graph for reference images. `is_slow` selects the smallest size, because the native size takes
    minutes on this device.
    """
    side = MIN_SIDE if is_slow else manifest.native_size
    sizes = tuning.warm_sizes or ((side, side), (side, side * 3 // 4))
    if not is_compiled:
        sizes = tuning.warm_sizes or sizes[:1]
    images = [
        WarmUpImage(name=f"{width}x{height}", order=_order(width, height))
        for width, height in sizes
    ]
    if is_compiled:
        width, height = sizes[0]
        edit = _order(width, height, reference_files=(_gradient_png(width, height),))
        images.append(WarmUpImage(name=f"an edit of {width}x{height}", order=edit))
    return tuple(images)


def _order(width: int, height: int, reference_files: tuple[bytes, ...] = ()) -> Order:
    return Order(
        prompt=PROMPT,
        width=width,
        height=height,
        steps=1,
        guidance=1.0,
        seeds=(0,),
        reference_files=reference_files,
    )


def _gradient_png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((width, height)).save(file, "PNG")
    return file.getvalue()

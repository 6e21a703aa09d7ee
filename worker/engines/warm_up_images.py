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
    sizes = tuning.warm_sizes or ((side, side),)
    if is_compiled and not _vary_in_both_sides(sizes):
        sizes += (_other_size(*sizes[0]),)
    images = [
        WarmUpImage(name=f"{width}x{height}", order=_order(width, height))
        for width, height in sizes
    ]
    if is_compiled:
        width, height = sizes[0]
        edit = _order(width, height, reference_files=(_gradient_png(width, height),))
        images.append(WarmUpImage(name=f"an edit of {width}x{height}", order=edit))
    return tuple(images)


def _vary_in_both_sides(sizes: tuple[tuple[int, int], ...]) -> bool:
    """Whether widths and heights differ: a side that never varied is compiled as a constant."""
    return all(len(set(sides)) > 1 for sides in zip(*sizes, strict=True))


def _other_size(width: int, height: int) -> tuple[int, int]:
    """Return a size that differs in both sides: smaller, unless that is below what can be requested."""
    smaller = width * 3 // 4, height // 2
    return smaller if min(smaller) >= MIN_SIDE else (width * 3 // 2, height * 5 // 4)


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

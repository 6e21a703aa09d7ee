"""Computes image sizes: of reference images, of edits, and of a model with a small native size."""

import math

SIZE_MULTIPLE = 16
"""Pixels that one latent token covers on each side: 8 by the VAE times a patch of 2."""
MIN_SIDE = 64
MAX_REFERENCE_PIXELS = 1024 * 1024
"""Larger reference images are scaled down, as in BFL's code and diffusers."""
MAX_CROP = 0.04
"""Largest share of a side that is cropped because the render size has not quite the requested aspect ratio."""


def cap_reference_size(width: int, height: int) -> tuple[int, int]:
    """Scale a size down to one megapixel, rounding as pipeline_flux2_klein.py does."""
    if width * height <= MAX_REFERENCE_PIXELS:
        return width, height
    scale = math.sqrt(MAX_REFERENCE_PIXELS / (width * height))
    return int(width * scale), int(height * scale)


def floor_size(width: int, height: int, multiple: int = SIZE_MULTIPLE) -> tuple[int, int]:
    """Round both sides down to the multiple, but not below 64 pixels."""
    return (
        max(MIN_SIDE, width // multiple * multiple),
        max(MIN_SIDE, height // multiple * multiple),
    )


def edit_output_size(width: int, height: int) -> tuple[int, int]:
    """Return the output size of an edit whose first reference image has this size.

    The output has the same token grid as the reference image. The model's positions are absolute, so
    an edit with a different grid comes out shifted (InvokeAI issue 9507).
    """
    return floor_size(*cap_reference_size(width, height))


def aspect_box(size: tuple[int, int], aspect: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the centred box of an image of `size` that has the aspect ratio of another size.

    Returns the whole image if the box would crop more than `MAX_CROP` of a side.
    """
    width, height = size
    scale = max(aspect[0] / width, aspect[1] / height)
    box_width, box_height = aspect[0] / scale, aspect[1] / scale
    if min(box_width / width, box_height / height) < 1 - MAX_CROP:
        return 0.0, 0.0, float(width), float(height)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return left, top, left + box_width, top + box_height


def native_render_size(width: int, height: int, *, native: int, multiple: int) -> tuple[int, int]:
    """Return a size of about native² pixels with the same aspect ratio.

    Both sides are multiples of `multiple` and at least 64 pixels.
    """
    scale = native / math.sqrt(width * height)
    min_multiples = math.ceil(MIN_SIDE / multiple)
    return (
        max(min_multiples, round(width * scale / multiple)) * multiple,
        max(min_multiples, round(height * scale / multiple)) * multiple,
    )

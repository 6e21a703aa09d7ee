"""Chooses the output, render and reference image sizes for one checkpoint."""

from PIL import Image, ImageOps

from worker.engines import Order
from worker.engines.errors import EngineFault
from worker.engines.manifest import Manifest
from worker.engines.pixels import centre_crop, pad_to_aspect
from worker.engines.sizes import (
    SIZE_MULTIPLE,
    cap_reference_size,
    edit_output_size,
    floor_size,
    native_render_size,
)


class SizePolicy:
    """Applies the size rules of a checkpoint's manifest. All sizes are (width, height) in pixels."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def output_size(
        self, order: Order, reference_images: list[Image.Image]
    ) -> tuple[tuple[int, int], list[str]]:
        """Return the size of the order's images, and a note if it differs from the requested size.

        Raises `EngineFault` if the order has neither a size nor a reference image.
        """
        if order.width is None or order.height is None:
            if not reference_images:
                raise EngineFault("an order without reference images needs a width and height")
            return edit_output_size(*reference_images[0].size), []
        requested = (order.width, order.height)
        if self._manifest.render_scaled:
            return requested, []
        size = floor_size(*requested)
        if size == requested:
            return size, []
        note = (
            f"the size {requested[0]}x{requested[1]} was reduced to {size[0]}x{size[1]}: "
            f"width and height must be multiples of {SIZE_MULTIPLE}"
        )
        return size, [note]

    def render_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size at which the model generates an image of this output size."""
        if not self._manifest.render_scaled:
            return width, height
        return native_render_size(
            width,
            height,
            native=self._manifest.native_size,
            multiple=self._manifest.native_multiple,
        )

    def resize_first_reference(
        self, reference: Image.Image, output_size: tuple[int, int]
    ) -> Image.Image:
        """Resize the reference image that an edit of this output size changes.

        Where the edit keeps the size of the image, both pass through the same render size, so that the edit is
        neither stretched nor shifted.
        """
        if not self._manifest.render_scaled or output_size != edit_output_size(*reference.size):
            return self.resize_reference(reference)
        return self.to_render_size(fit_output(reference, reference.size, output_size))

    def to_render_size(
        self, image: Image.Image, resampling: Image.Resampling = Image.Resampling.LANCZOS
    ) -> Image.Image:
        """Resize an image of the output size to the size at which the model generates it."""
        size = self.render_size(*image.size)
        if size == image.size:
            return image
        return pad_to_aspect(image, size).resize(size, resampling)

    def resize_reference(self, reference: Image.Image) -> Image.Image:
        """Resize a reference image for the model. The pipeline crops it to a multiple of 16."""
        if self._manifest.render_scaled:
            size = self.render_size(*reference.size)
            reference = pad_to_aspect(reference, size)
        else:
            size = cap_reference_size(*reference.size)
        if size == reference.size:
            return reference
        return reference.resize(size, Image.Resampling.LANCZOS)


def fit_output(
    image: Image.Image,
    reference_size: tuple[int, int],
    output_size: tuple[int, int],
    resampling: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """Resize a reference image, or its mask of any size, to the output size of its edit.

    Where the edit has another aspect ratio than the reference image, both ends of the longer side are cropped.
    """
    capped = cap_reference_size(*reference_size)
    if image.size != capped:
        image = image.resize(capped, resampling)
    if output_size == edit_output_size(*reference_size):
        return centre_crop(image, output_size)
    return ImageOps.fit(image, output_size, method=resampling)

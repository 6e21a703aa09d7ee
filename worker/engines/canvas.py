"""Which sizes one checkpoint draws, and what it makes of its input images."""

from PIL import Image

from worker.engines import Order
from worker.engines.errors import EngineFault
from worker.engines.manifest import Manifest
from worker.engines.sizes import cap_reference, edit_size, floor_size, native_size


class Canvas:
    """The sizes as a checkpoint's manifest has them."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def output_size(
        self, order: Order, references: list[Image.Image]
    ) -> tuple[tuple[int, int], list[str]]:
        """Give the size of the order's pictures, and notes where it is not what was asked. Raises EngineFault."""
        if order.width is None or order.height is None:
            if not references:
                raise EngineFault("an order without references must name its width and height")
            return edit_size(*references[0].size), []
        asked = (order.width, order.height)
        if self._manifest.render_scaled:
            return asked, []
        size = floor_size(*asked)
        if size == asked:
            return size, []
        note = f"{asked[0]}x{asked[1]} is not in steps of 16 pixels; drawn as {size[0]}x{size[1]}"
        return size, [note]

    def render_size(self, width: int, height: int) -> tuple[int, int]:
        """Give the size at which the model draws a picture that is given in this one."""
        if not self._manifest.render_scaled:
            return width, height
        return native_size(
            width,
            height,
            native=self._manifest.native_size,
            multiple=self._manifest.native_multiple,
        )

    def fit(self, reference: Image.Image) -> Image.Image:
        """Scale a reference as the model expects it; what is left to a multiple, the pipe crops."""
        if self._manifest.render_scaled:
            size = self.render_size(*reference.size)
        else:
            size = cap_reference(*reference.size)
        if size == reference.size:
            return reference
        return reference.resize(size, Image.Resampling.LANCZOS)

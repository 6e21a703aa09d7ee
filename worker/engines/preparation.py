"""What is settled before the pipeline is called: sizes, the LoRAs that are worn, the texts' embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from worker.engines import Order
from worker.engines.canvas import Canvas
from worker.engines.loras import LoraShelf
from worker.engines.manifest import Manifest
from worker.engines.placement import Offload, Room
from worker.engines.text_encoder import Embedded, TextEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Orders that one call of the pipeline may draw."""

    size: tuple[int, int]
    """Of the pictures that are given."""
    render: tuple[int, int]
    """Of those that the model draws."""
    notes: tuple[tuple[str, ...], ...]
    """Of each order."""
    told: dict[str, Any]
    """What the pipeline is told of all."""
    in_tiles: bool
    """Whether they are decoded piece by piece, and one after the other."""


class Preparation:
    """Prepares orders for one pipeline; whoever draws waits for whoever drew before."""

    def __init__(
        self,
        manifest: Manifest,
        texts: TextEncoder,
        loras: LoraShelf,
        offload: Offload,
        room: Room,
    ) -> None:
        self._manifest = manifest
        self._canvas = Canvas(manifest)
        self._texts = texts
        self._loras = loras
        self._offload = offload
        self._room = room

    def of(
        self,
        orders: Sequence[Order],
        references: Sequence[Image.Image] = (),
        *,
        in_tiles: bool = False,
    ) -> Prepared:
        """Prepare orders that agree; guidance above 1.0 needs their negative prompts too.

        What does not fit into the free memory whole is decoded in tiles; `in_tiles`: whatever fits.
        """
        first = orders[0]
        size, notes = self._canvas.output_size(first, list(references))
        render = self._canvas.render_size(*size)
        fitted = [self._canvas.fit(reference) for reference in references]
        self._offload.settle()
        self._loras.wear(first.loras)
        prompts = [self._texts.embed(order.prompt) for order in orders]
        negative = None
        if first.guidance > 1.0:
            negatives = [self._texts.embed(order.negative_prompt).embeds for order in orders]
            negative = torch.cat(negatives)
        self._offload.settle()
        in_tiles = self._room.asks_for_tiles(*render, len(orders), is_short=in_tiles)
        if in_tiles:
            notes = [
                *notes,
                f"the device's free memory holds {render[0]}x{render[1]} only in tiles",
            ]
        return Prepared(
            size=size,
            render=render,
            in_tiles=in_tiles,
            notes=tuple((*notes, *self._cut_notes(prompt)) for prompt in prompts),
            told={
                "image": fitted or None,
                "prompt_embeds": torch.cat([prompt.embeds for prompt in prompts]),
                "negative_prompt_embeds": negative,
                "width": render[0],
                "height": render[1],
                "num_inference_steps": first.steps,
                "guidance_scale": first.guidance,
                "output_type": "latent",
                "max_sequence_length": self._manifest.max_sequence_length,
                "text_encoder_out_layers": self._manifest.text_encoder_out_layers,
            },
        )

    def forget(self) -> None:
        """Free what is kept for later orders."""
        self._texts.forget()
        self._loras.forget()

    def _cut_notes(self, prompt: Embedded) -> list[str]:
        """Tell when the tokenizer cut the prompt, which the pipeline does in silence."""
        limit = self._manifest.max_sequence_length
        if prompt.token_count <= limit:
            return []
        return [f"the prompt is {prompt.token_count} tokens long and was cut to {limit}"]

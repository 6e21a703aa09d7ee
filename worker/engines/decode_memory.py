"""Estimates the memory that decoding needs, and limits batches and whole-image decoding by it."""

import sys
from dataclasses import dataclass

import torch

from worker.engines.device import free_memory_bytes

DECODE_BYTES_PER_MEGAPIXEL = 3_200_000_000
"""The VAE's decoder needs 2.8 GiB of activations for 1024 x 1024 in bfloat16. This adds a margin."""
_MEGAPIXEL = 1_000_000


def decode_bytes(width: int, height: int) -> int:
    """Return the memory in bytes, besides the weights, for decoding one image without tiles."""
    return int(DECODE_BYTES_PER_MEGAPIXEL * width * height / _MEGAPIXEL)


def max_batch_size(free_bytes: int | None, side: int) -> int:
    """Return how many square images fit into the free memory, at least 1. No limit if it is unknown."""
    return sys.maxsize if free_bytes is None else max(1, free_bytes // decode_bytes(side, side))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeMemory:
    """Decides whether a device's free memory requires tiled decoding."""

    device: torch.device
    tile_side: int
    """Side in pixels of one tile. Smaller images are always decoded whole."""

    def requires_tiling(self, width: int, height: int, count: int, *, force: bool) -> bool:
        """Return whether `count` images must be decoded in tiles. `force` skips the estimate."""
        if max(width, height) <= self.tile_side:
            return False
        if self.device.type == "mps":
            return True  # its attention holds the scores of all pairs of the decoder's tokens
        free_bytes = free_memory_bytes(self.device)
        return force or (
            free_bytes is not None and count * decode_bytes(width, height) > free_bytes
        )

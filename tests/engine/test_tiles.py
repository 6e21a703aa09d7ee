"""Tests of images that do not fit whole into the device's free memory."""

import numpy as np
import pytest

from tests.engine.test_flux2_klein import BATCH, generate, psnr, reference, together
from worker.engines import decode_memory, open_engine

pytestmark = pytest.mark.usefixtures("one_thread")


def test_large_image_is_decoded_in_tiles(tiny_weights, monkeypatch):
    """An image that does not fit into the free memory is decoded in tiles, alone and in a batch."""
    engine = open_engine(tiny_weights)
    monkeypatch.setattr(
        decode_memory,
        "free_memory_bytes",
        lambda _device: decode_memory.decode_bytes(128, 128) - 1,
    )
    alone = [generate(engine, **one, width=128, height=128) for one in BATCH]
    batch = together(engine, width=128, height=128)

    for one, other in zip(alone, batch, strict=True):
        assert "decoded in tiles" in one.notes[0]
        assert one.notes == other.notes
        assert psnr(one.images[0], other.images[0]) >= 40


def test_reference_images_are_encoded_whole(tiny_weights, monkeypatch):
    """Reference images are encoded whole, even after an image that was decoded in tiles and with little free memory."""
    engine = open_engine(tiny_weights)
    edit = {"width": 64, "height": 64, "reference_files": (reference(256, 256),)}
    expected = generate(engine, **edit)
    monkeypatch.setattr(decode_memory, "free_memory_bytes", lambda _device: 0)
    generate(engine, width=128, height=128)
    result = generate(engine, **edit)

    assert result.notes == ()
    assert np.array_equal(result.images[0], expected.images[0])

"""Tests of another autoencoder in the place of the checkpoint's own, such as the small decoder."""

import json
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKLFlux2

from benchmarks.decoder import LEAST_DB, compare
from worker.engines import Order, Tuning, open_engine

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(60)]
BUILT_IN = Path(__file__).parents[2] / "worker" / "weights" / "builtin"


@pytest.fixture(scope="module")
def small_decoder(tmp_path_factory):
    """A folder with the encoder of the built-in model and a decoder of half the width, not trained."""
    config = json.loads((BUILT_IN / "vae" / "config.json").read_text())
    widths = [width // 2 for width in config["block_out_channels"]]
    names = {"_class_name", "_diffusers_version", "decoder_block_out_channels"}
    values = {name: value for name, value in config.items() if name not in names}
    vae: Any = AutoencoderKLFlux2(**values, decoder_block_out_channels=widths)
    folder = tmp_path_factory.mktemp("small") / "vae"
    vae.save_pretrained(folder)
    return folder


def test_small_decoder_is_served(small_decoder):
    """KLEIN_VAE may be a folder whose decoder is smaller than the checkpoint's own."""
    engine: Any = open_engine(BUILT_IN, None, Tuning(vae=small_decoder))
    own: Any = open_engine(BUILT_IN)
    order = Order(prompt="a", width=128, height=128, steps=1, guidance=1.0, seeds=(1,))
    small, whole = (one.model.pipe.vae.decoder.conv_in.out_channels for one in (engine, own))

    assert engine.generate(order, lambda _k, _n: None).images[0].shape == (128, 128, 3)
    assert small == whole // 2


def test_decoders_are_compared_by_psnr(small_decoder):
    """The comparison finds that a decoder equals itself, and that one without training is too far off."""
    same, _, _ = compare(BUILT_IN, BUILT_IN / "vae", 128)
    untrained, _, _ = compare(BUILT_IN, small_decoder, 128)

    assert same > 60
    assert untrained < LEAST_DB

"""Quantised weights, a LoRA and a device too small for all parts, at once: torchao's CPU form of fp8, for real."""

import dataclasses

import numpy as np
import pytest

from tests.support.lora_files import write_lora
from worker.engines import Lora, Order, Tuning
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.placement import Placement
from worker.engines.quantization import RECIPES
from worker.engines.tuning import Quantization

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("one_thread")]
WORN = (Lora(path="a.safetensors", scale=1),)


def fp8():
    from torchao.quantization import Float8WeightOnlyConfig

    return dataclasses.replace(
        RECIPES[Quantization.FP8], make_config=Float8WeightOnlyConfig, min_capability=None
    )


@pytest.fixture(scope="module")
def open_engine(tiny_weights, tmp_path_factory):
    loras = tmp_path_factory.mktemp("loras")
    write_lora(loras / "a.safetensors")

    def opened(recipe, placement):
        folder = inspect_folder(tiny_weights)
        return Flux2KleinEngine(
            folder, loras, Tuning(), lambda _line: None, recipe=recipe, placement=placement
        )

    return opened


def draw(engine, loras=()):
    order = Order(prompt="a", width=64, height=64, steps=2, guidance=1.0, seeds=(7,), loras=loras)
    return engine.generate(order, lambda k, n: None).images[0]


@pytest.mark.parametrize("placement", [Placement.TEXT_ENCODER_OFFLOAD, Placement.MODEL_OFFLOAD])
def test_a_lora_on_visiting_quantised_parts(open_engine, placement):
    """It draws what a resident quantised model does, near the exact one, and comes off to the byte."""
    visiting, resident = open_engine(fp8(), placement), open_engine(fp8(), Placement.RESIDENT)
    exact = open_engine(None, Placement.RESIDENT)
    bare = draw(visiting)
    worn = draw(visiting, WORN)

    assert np.array_equal(worn, draw(resident, WORN))
    assert np.array_equal(draw(visiting), bare)
    of_the_lora = np.abs(worn.astype(int) - bare).mean()
    of_the_numbers = np.abs(worn.astype(int) - draw(exact, WORN)).mean()
    assert 0 < of_the_numbers < of_the_lora / 2

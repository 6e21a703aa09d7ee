"""Tests of quantised weights, a LoRA and offloading together, with torchao's CPU implementation of fp8."""

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

pytestmark = pytest.mark.usefixtures("one_thread")
LORAS = (Lora(path="a.safetensors", scale=1),)


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


def generate(engine, loras=()):
    order = Order(prompt="a", width=64, height=64, steps=2, guidance=1.0, seeds=(7,), loras=loras)
    return engine.generate(order, lambda k, n: None).images[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "placement",
    [Placement.TEXT_ENCODER_OFFLOAD, pytest.param(Placement.MODEL_OFFLOAD, marks=pytest.mark.slow)],
)
def test_lora_on_offloaded_quantised_model(open_engine, placement):
    """An offloaded quantised model applies a LoRA as a resident one does, with a small error, and removes it completely."""
    offloaded, resident = open_engine(fp8(), placement), open_engine(fp8(), Placement.RESIDENT)
    exact = open_engine(None, Placement.RESIDENT)
    without_lora = generate(offloaded)
    with_lora = generate(offloaded, LORAS)

    assert np.array_equal(with_lora, generate(resident, LORAS))
    assert np.array_equal(generate(offloaded), without_lora)
    lora_difference = np.abs(with_lora.astype(int) - without_lora).mean()
    quantization_error = np.abs(with_lora.astype(int) - generate(exact, LORAS)).mean()
    assert 0 < quantization_error < lora_difference / 2

"""Tests of the placement: which one a device gets, and that all of them generate the same image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.full_size import Dimensions, build_pipeline
from tests.support.lora_files import write_lora
from worker.engines import Cancelled, Lora, Order, Tuning, UnusableSetting
from worker.engines.decode_memory import max_batch_size
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.manifest import Manifest
from worker.engines.offloading import Offloader
from worker.engines.pipeline import load_pipeline
from worker.engines.placement import (
    ComponentSizes,
    Placement,
    choose_placement,
    component_sizes,
    required_bytes,
)
from worker.engines.prompt_encoder import truncate_text_encoder
from worker.engines.tuning import Quantization

pytestmark = pytest.mark.usefixtures("one_thread")
GB = 10**9
DEPLOYING = Path(__file__).parents[2] / "docs" / "deploying.md"
# FLUX.2 [klein] 4B in bfloat16, and with an fp8 transformer.
BF16 = ComponentSizes(text_encoder=int(6.23 * GB), transformer=int(7.75 * GB), vae=int(0.17 * GB))
FP8 = ComponentSizes(text_encoder=int(6.23 * GB), transformer=int(4.1 * GB), vae=int(0.17 * GB))


@pytest.mark.parametrize(
    ("sizes", "free_gib", "chosen"),
    [
        (BF16, 139, Placement.RESIDENT),
        (BF16, 23, Placement.RESIDENT),
        (BF16, 15.5, Placement.TEXT_ENCODER_OFFLOAD),
        (BF16, 11.5, Placement.MODEL_OFFLOAD),
        (FP8, 15.5, Placement.RESIDENT),
        (FP8, 11.5, Placement.TEXT_ENCODER_OFFLOAD),
        (FP8, 7.5, Placement.MODEL_OFFLOAD),
    ],
)
def test_the_fastest_that_fits_is_chosen(sizes, free_gib, chosen):
    """Cards from 8 to 141 GB get the fastest placement that fits into their free memory."""
    assert choose_placement(int(free_gib * 2**30), sizes) is chosen


def test_a_device_that_is_too_small_is_refused():
    """The error has the free memory, the needed memory and the setting to change."""
    with pytest.raises(UnusableSetting, match=r"8\.1 GB free, .* needs 9\.2 GB .*=fp8"):
        choose_placement(int(7.5 * 2**30), BF16)


@pytest.mark.parametrize(
    ("quantization", "column"), [(Quantization.NONE, 1), (Quantization.FP8, 2)]
)
def test_the_documented_free_memory_is_what_each_placement_needs(quantization, column):
    """The table of docs/deploying.md has the memory that the 4B checkpoint needs in each placement, to 0.1 GB."""
    pipe = build_pipeline(Dimensions(), "meta")
    truncate_text_encoder(pipe, max(Manifest().text_encoder_out_layers))
    sizes = component_sizes(pipe, quantization)
    needed = [required_bytes(placement, sizes) / GB for placement in Placement]
    _, _, table = DEPLOYING.read_text().partition("Free GB in bf16")
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:5]]
    documented = [float(row[column]) for row in rows]

    assert documented == pytest.approx(needed, abs=0.1)


@pytest.mark.parametrize(
    ("free", "side", "count"),
    [(int(7 * GB), 1024, 2), (int(7 * GB), 512, 8), (int(1 * GB), 1024, 1)],
)
def test_the_free_memory_limits_a_batch(free, side, count):
    """The free memory limits the batch size, which is at least one."""
    assert max_batch_size(free, side) == count


def test_sizes_are_those_of_the_weights(tiny_weights):
    """Component sizes are those of the weights, and a quantised transformer counts with its reduced size."""
    pipe = load_pipeline(inspect_folder(tiny_weights), torch.bfloat16)
    whole = component_sizes(pipe, Quantization.NONE)
    quantised = component_sizes(pipe, Quantization.FP8)

    assert whole.transformer == sum(2 * p.numel() for p in pipe.transformer.parameters())
    assert quantised.transformer < 0.6 * whole.transformer
    assert quantised.text_encoder == whole.text_encoder


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "a.safetensors")
    return folder


def open_engine(weights, loras, placement, lines):
    folder = inspect_folder(weights)
    return Flux2KleinEngine(folder, loras, Tuning(), lines.append, placement=placement)


def draw(engine, on_step=lambda k, n: None, **changes):
    values = {"prompt": "a", "width": 64, "height": 64, "steps": 2, "guidance": 1.0, "seeds": (7,)}
    return engine.generate(Order(**{**values, **changes}), on_step).images[0]


@pytest.mark.parametrize("placement", [Placement.TEXT_ENCODER_OFFLOAD, Placement.MODEL_OFFLOAD])
def test_every_placement_draws_the_same(tiny_weights, loras, placement):
    """Every placement gives the same bytes, also with a LoRA and after a cancel, and the log has the transfer time."""
    lines: list[str] = []
    resident = open_engine(tiny_weights, loras, Placement.RESIDENT, [])
    engine = open_engine(tiny_weights, loras, placement, lines)
    one_lora = (Lora(path="a.safetensors", scale=1),)

    def cancel(k, n):
        raise Cancelled

    with pytest.raises(Cancelled):
        draw(engine, cancel)
    for changes in ({}, {"loras": one_lora}, {"prompt": "b"}):
        assert np.array_equal(draw(engine, **changes), draw(resident, **changes))
    assert lines[0].startswith(f"{placement}: ")
    assert "there and back takes" in lines[0]


class CountingOffloader(Offloader):
    """Counts how often the components are offloaded."""

    def __init__(self):
        self.calls = 0

    def offload_all(self):
        self.calls += 1


def test_components_are_offloaded_before_and_after_the_prompt(tiny_weights, loras):
    """All components are offloaded before the prompt is encoded and again before the first step."""
    engine = open_engine(tiny_weights, loras, Placement.RESIDENT, [])
    offloader = CountingOffloader()
    engine.model = replace(engine.model, offloader=offloader)
    calls: list[int] = []
    draw(engine, lambda k, n: calls.append(offloader.calls))

    assert calls == [2, 2]

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
    module_bytes,
    required_bytes,
)
from worker.engines.prompt_encoder import truncate_text_encoder
from worker.engines.quantization import block_linears, repeated_blocks
from worker.engines.start_memory import StartMemory
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
def test_fastest_fitting_placement_is_chosen(sizes, free_gib, chosen):
    """Cards from 8 to 141 GB get the fastest placement that fits into their free memory."""
    assert choose_placement(int(free_gib * 2**30), sizes) is chosen


def test_too_small_device_is_refused():
    """The error has the free memory, the needed memory and the setting to change."""
    with pytest.raises(UnusableSetting, match=r"8\.1 GB free, .* needs 9\.2 GB .*=fp8"):
        choose_placement(int(7.5 * 2**30), BF16)


@pytest.mark.parametrize(
    ("quantization", "text_encoder", "column"),
    [
        (Quantization.NONE, Quantization.NONE, 1),
        (Quantization.FP8, Quantization.NONE, 2),
        (Quantization.FP8, Quantization.INT8_WEIGHT_ONLY, 3),
    ],
)
def test_documented_memory_is_required_memory(quantization, text_encoder, column):
    """The table of docs/deploying.md has the memory that the 4B checkpoint needs in each placement, to 0.1 GB."""
    pipe = build_pipeline(Dimensions())
    truncate_text_encoder(pipe, max(Manifest().text_encoder_out_layers))
    sizes = component_sizes(pipe, quantization, text_encoder)
    needed = [required_bytes(placement, sizes) / GB for placement in Placement]
    _, _, table = DEPLOYING.read_text().partition("Free GB in bf16")
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:5]]
    documented = [float(row[column]) for row in rows]

    assert documented == pytest.approx(needed, abs=0.1)


@pytest.mark.parametrize(
    ("free", "side", "count"),
    [(int(7 * GB), 1024, 2), (int(7 * GB), 512, 8), (int(1 * GB), 1024, 1)],
)
def test_free_memory_limits_batch_size(free, side, count):
    """The free memory limits the batch size, which is at least one."""
    assert max_batch_size(free, side) == count


def test_component_sizes_follow_weights(tiny_weights):
    """Component sizes are those of the weights, and a quantised transformer counts with its reduced size."""
    pipe = load_pipeline(inspect_folder(tiny_weights), torch.bfloat16)
    whole = component_sizes(pipe, Quantization.NONE)
    quantised = component_sizes(pipe, Quantization.FP8)
    blocks = sum(linear.weight.nbytes for linear in block_linears(pipe.transformer).values())

    assert whole.transformer == sum(2 * p.numel() for p in pipe.transformer.parameters())
    assert quantised.transformer == whole.transformer - blocks // 2
    assert quantised.text_encoder == whole.text_encoder
    assert (whole.block, quantised.block) == (
        0,
        max(module_bytes(block) for block in repeated_blocks(pipe.transformer)),
    )


def test_memory_that_runs_out_at_start_is_explained():
    """If memory runs out at the start, the error has the needed memory, the free memory and what to set."""
    memory = StartMemory(placement=Placement.RESIDENT, sizes=BF16, free_bytes=18 * GB)
    expected = r"resident needs 17\.4 GB, and 18\.0 GB were free\. .* KLEIN_QUANTIZATION=fp8"
    with pytest.raises(UnusableSetting, match=expected), memory.explain():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "a.safetensors")
    return folder


def open_engine(weights, loras, placement, lines):
    folder = inspect_folder(weights)
    return Flux2KleinEngine(folder, loras, Tuning(), lines.append, placement=placement)


def generate(engine, on_step=lambda k, n: None, **changes):
    values = {"prompt": "a", "width": 64, "height": 64, "steps": 2, "guidance": 1.0, "seeds": (7,)}
    return engine.generate(Order(**{**values, **changes}), on_step).images[0]


@pytest.mark.parametrize(
    "placement",
    [pytest.param(Placement.TEXT_ENCODER_OFFLOAD, marks=pytest.mark.slow), Placement.MODEL_OFFLOAD],
)
def test_placements_give_same_images(tiny_weights, loras, placement):
    """Every placement gives the same bytes, also with a LoRA and after a cancel, and the log has the transfer time."""
    lines: list[str] = []
    resident = open_engine(tiny_weights, loras, Placement.RESIDENT, [])
    engine = open_engine(tiny_weights, loras, placement, lines)
    one_lora = (Lora(path="a.safetensors", scale=1),)

    def cancel(k, n):
        raise Cancelled

    with pytest.raises(Cancelled):
        generate(engine, cancel)
    for changes in ({}, {"loras": one_lora}, {"prompt": "b"}):
        assert np.array_equal(generate(engine, **changes), generate(resident, **changes))
    assert lines[0].startswith(f"{placement}: ")
    assert "GB takes" in lines[0]


class CountingOffloader(Offloader):
    """Counts how often the components are offloaded."""

    def __init__(self):
        self.calls = 0

    def offload_all(self):
        self.calls += 1


def test_components_are_offloaded_around_prompt_encoding(tiny_weights, loras):
    """All components are offloaded before the prompt is encoded and again before the first step."""
    engine = open_engine(tiny_weights, loras, Placement.RESIDENT, [])
    offloader = CountingOffloader()
    engine.model = replace(engine.model, offloader=offloader)
    calls: list[int] = []
    generate(engine, lambda k, n: calls.append(offloader.calls))

    assert calls == [2, 2]

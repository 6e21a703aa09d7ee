"""Tests of the choice of number type for each processor, with given capabilities."""

import re
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.full_size import SMALL as SMALL_MODEL
from benchmarks.full_size import Dimensions, build_pipeline
from worker.engines import Order, flux2_klein, model, open_engine
from worker.engines.cpu_estimate import describe_cpu_speed, image_flop
from worker.engines.manifest import Manifest
from worker.engines.precision import (
    Float32Products,
    choose_compute_dtype,
    choose_weights_dtype,
    has_bfloat16,
    needs_float32_products,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LAPTOP = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
SERVERS = (
    {"avx2": True, "avx512_bf16": True},
    {"avx2": True, "amx_bf16": True},
    {"neon": True, "bf16": True},
    {"neon": True, "sve_bf16": True},
)
SMALL, LARGE = 10 << 20, 16 << 30


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype"),
    [
        (CPU, LAPTOP, torch.float32),
        (CPU, {}, torch.float32),
        *((CPU, server, torch.bfloat16) for server in SERVERS),
        (GPU, LAPTOP, torch.bfloat16),
    ],
)
def test_training_dtype_follows_processor(device, capabilities, dtype):
    """A CPU without bfloat16 instructions trains in float32, everything else in bfloat16."""
    assert choose_compute_dtype(device, capabilities) is dtype


@pytest.mark.parametrize(
    ("device", "size", "dtype"),
    [(CPU, SMALL, torch.float32), (CPU, LARGE, torch.bfloat16), (GPU, SMALL, torch.bfloat16)],
)
def test_weights_dtype_follows_size(device, size, dtype):
    """Only a small checkpoint on a CPU takes the memory of float32."""
    assert choose_weights_dtype(device, size) is dtype


@pytest.mark.parametrize(
    ("device", "dtype", "capabilities", "needed"),
    [
        (CPU, torch.bfloat16, LAPTOP, True),
        *((CPU, torch.bfloat16, server, False) for server in SERVERS),
        (CPU, torch.float32, LAPTOP, False),
        (GPU, torch.bfloat16, LAPTOP, False),
    ],
)
def test_float32_products_replace_emulation(device, dtype, capabilities, needed):
    """Only a CPU without bfloat16 instructions multiplies a bfloat16 checkpoint in float32."""
    assert needs_float32_products(device, dtype, capabilities) is needed


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("linear", lambda one: functional.linear(one, one, bias=one[0])),
        ("matmul", lambda one: one @ one),
        ("convolution", lambda one: functional.conv2d(one[None, None], one[None, None])),
    ],
)
def test_products_are_those_of_float32(name, product):
    """In the context, each product of bfloat16 tensors is the rounded one of float32, and nothing else changes."""
    one = torch.randn(16, 16, generator=torch.Generator().manual_seed(len(name)))
    one = one.to(torch.bfloat16)

    with Float32Products(), Recorder() as recorder:
        result = product(one)
        total = one + one

    assert torch.equal(result, product(one.float()).to(torch.bfloat16))
    assert (result.dtype, total.dtype) == (torch.bfloat16, torch.bfloat16)
    assert recorder.result_dtypes == {torch.float32}


class Recorder(TorchDispatchMode):
    """Records the number types of the results of torch's products."""

    def __init__(self):
        super().__init__()
        self.result_dtypes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in {"mm", "addmm", "bmm", "linear", "matmul", "conv2d", "convolution"}:
            self.result_dtypes.add(result.dtype)
        return result


@pytest.mark.parametrize("needed", [True, False])
def test_engine_multiplies_as_chosen(tiny_weights, monkeypatch, needed):
    """Every product of an image is in float32 if that is chosen, and the numerics of the image say so."""
    monkeypatch.setattr(model, "choose_weights_dtype", lambda *_: torch.bfloat16)
    monkeypatch.setattr(model, "needs_float32_products", lambda *_: needed)
    engine = open_engine(tiny_weights)
    order = Order(prompt="a house", width=64, height=64, steps=2, guidance=1.0, seeds=(7,))

    with Recorder() as recorder:
        result = engine.generate(order, lambda _step, _steps: None)

    assert recorder.result_dtypes == {torch.float32 if needed else torch.bfloat16}
    assert ("bfloat16, float32 products" in result.numerics) is needed


def test_processor_capability_is_detected():
    """Torch names the capabilities of the processor that runs the tests."""
    assert isinstance(has_bfloat16(), bool)
    assert "architecture" in torch.cpu.get_capabilities()


@pytest.mark.parametrize("speed", ["this CPU will take about 9 min", None])
def test_checkpoint_tells_whether_it_takes_minutes(tiny_weights, monkeypatch, speed):
    """The engine says at start how long an image takes, if it is long, and its checkpoint tells."""
    monkeypatch.setattr(flux2_klein, "describe_cpu_speed", lambda _model: speed)
    lines: list[str] = []
    engine = open_engine(tiny_weights, on_status=lines.append)

    assert engine.checkpoint.takes_minutes is (speed is not None)
    assert (speed in lines) is (speed is not None)


def test_arithmetic_of_4b_image():
    """An image of 1024x1024 by the 4B checkpoint takes 153 teraflop, within 10 %."""
    flop = image_flop(
        transformer_values=3_875_500_000,
        text_encoder_values=3_114_000_000,
        decoder_values=49_600_000,
        side=1024,
        prompt_tokens=512,
    )

    assert flop == pytest.approx(152.7e12, rel=0.1)


def test_slow_cpu_is_announced():
    """On a CPU the 4B checkpoint is announced with minutes for each image, and a small checkpoint is not."""

    def described(manifest, dimensions):
        pipe = build_pipeline(dimensions)
        loaded: Any = SimpleNamespace(
            pipe=pipe, manifest=manifest, dtype=torch.float32, inference=nullcontext
        )
        return describe_cpu_speed(loaded)

    large = described(Manifest(), Dimensions())
    small = described(Manifest(native_size=128), SMALL_MODEL)

    assert re.match(r"this CPU will take about [1-9]\d* min for an image of 1024x1024", large)
    assert small is None

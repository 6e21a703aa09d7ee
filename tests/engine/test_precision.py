"""Tests of the choice of number type for each processor, with given capabilities."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.full_size import SMALL as SMALL_MODEL
from benchmarks.full_size import Dimensions, build_pipeline
from worker.engines.cpu_estimate import describe_cpu_speed, image_flop
from worker.engines.manifest import Manifest
from worker.engines.precision import choose_compute_dtype, choose_weights_dtype, has_bfloat16

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LAPTOP = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
SERVERS = (
    {"avx2": True, "avx512_bf16": True},
    {"avx2": True, "amx_bf16": True},
    {"neon": True, "bf16": True},
    {"neon": True, "sve_bf16": True},
)
SMALL, LARGE, HUGE_HOST, SMALL_HOST = 10 << 20, 16 << 30, 64 << 30, 24 << 30


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
    ("device", "size", "capabilities", "memory", "dtype"),
    [
        (CPU, SMALL, LAPTOP, HUGE_HOST, torch.float32),
        (CPU, SMALL, SERVERS[0], HUGE_HOST, torch.float32),
        (CPU, LARGE, SERVERS[0], HUGE_HOST, torch.bfloat16),
        (CPU, LARGE, LAPTOP, HUGE_HOST, torch.float32),
        (CPU, LARGE, LAPTOP, SMALL_HOST, torch.bfloat16),
        (GPU, SMALL, LAPTOP, SMALL_HOST, torch.bfloat16),
    ],
)
def test_weights_dtype_follows_speed_and_memory(device, size, capabilities, memory, dtype):
    """A large checkpoint is bfloat16 on a CPU that has the instructions, or where float32 does not fit."""
    chosen = choose_weights_dtype(device, size, capabilities=capabilities, memory_bytes=memory)

    assert chosen is dtype


def test_processor_capability_is_detected():
    """Torch names the capabilities of the processor that runs the tests."""
    assert isinstance(has_bfloat16(), bool)
    assert "architecture" in torch.cpu.get_capabilities()


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
        model: Any = SimpleNamespace(pipe=pipe, manifest=manifest, dtype=torch.float32)
        return describe_cpu_speed(model)

    large = described(Manifest(), Dimensions())
    small = described(Manifest(native_size=128), SMALL_MODEL)

    assert re.match(r"this CPU will take about [1-9]\d* min for an image of 1024x1024", large)
    assert small is None

"""Tests of the choice of number type for each processor, with given capabilities."""

import pytest
import torch

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
def test_training_computes_in_what_the_processor_multiplies(device, capabilities, dtype):
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
def test_weights_are_loaded_in_what_is_fast_and_fits(device, size, capabilities, memory, dtype):
    """A large checkpoint is bfloat16 on a CPU that has the instructions, or where float32 does not fit."""
    chosen = choose_weights_dtype(device, size, capabilities=capabilities, memory_bytes=memory)

    assert chosen is dtype


def test_this_processor_is_recognised():
    """Torch names the capabilities of the processor that runs the tests."""
    assert isinstance(has_bfloat16(), bool)
    assert "architecture" in torch.cpu.get_capabilities()

"""Chooses the number type of computations from what the processor can multiply."""

from collections.abc import Mapping
from typing import Any

import torch

from worker.engines.host_memory import host_memory_bytes

# AMX and AVX-512 on x86, NEON and SVE on ARM, as torch.cpu.get_capabilities() names them.
_BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
_FLOAT32_BYTES_PER_STORED_BYTE = 2  # large checkpoints are stored in bfloat16
_LARGE_BYTES = 2 << 30


def has_bfloat16(capabilities: Mapping[str, Any] | None = None) -> bool:
    """Return whether the CPU has bfloat16 instructions; without them torch emulates at 1/6 to 1/28 of the speed."""
    supported = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(supported.get(name) for name in _BFLOAT16_INSTRUCTIONS)


def choose_compute_dtype(
    device: torch.device, capabilities: Mapping[str, Any] | None = None
) -> torch.dtype:
    """Return the fastest number type of the device for training and evaluation."""
    if device.type != "cpu" or has_bfloat16(capabilities):
        return torch.bfloat16
    return torch.float32


def choose_weights_dtype(
    device: torch.device,
    weights_bytes: int,
    *,
    capabilities: Mapping[str, Any] | None = None,
    memory_bytes: int | None = None,
) -> torch.dtype:
    """Return the number type for a checkpoint of this size on disk.

    On a CPU, small checkpoints run in float32. Large ones run in bfloat16 where the CPU has the instructions,
    or where the host's memory cannot hold them in float32.
    """
    if device.type != "cpu":
        return torch.bfloat16
    if weights_bytes < _LARGE_BYTES:
        return torch.float32
    memory = host_memory_bytes() if memory_bytes is None else memory_bytes
    fits = weights_bytes * _FLOAT32_BYTES_PER_STORED_BYTE <= memory
    return torch.bfloat16 if has_bfloat16(capabilities) or not fits else torch.float32

"""Chooses the number type of computations from what the processor can multiply."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# AMX and AVX-512 on x86, NEON and SVE on ARM, as torch.cpu.get_capabilities() names them.
_BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
_LARGE_BYTES = 2 << 30
# attention is as fast in emulated bfloat16
_PRODUCTS = frozenset(
    {
        functional.linear,
        functional.conv2d,
        torch.matmul,
        torch.Tensor.matmul,
        torch.bmm,
        torch.Tensor.bmm,
    }
)


def has_bfloat16(capabilities: Mapping[str, Any] | None = None) -> bool:
    """Return whether the CPU has bfloat16 instructions. Without them torch emulates at 1/6 to 1/28 of the speed."""
    supported = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(supported.get(name) for name in _BFLOAT16_INSTRUCTIONS)


def choose_compute_dtype(
    device: torch.device, capabilities: Mapping[str, Any] | None = None
) -> torch.dtype:
    """Return the fastest number type of the device for training and evaluation."""
    if device.type != "cpu" or has_bfloat16(capabilities):
        return torch.bfloat16
    return torch.float32


def choose_weights_dtype(device: torch.device, weights_bytes: int) -> torch.dtype:
    """Return the number type for a checkpoint of this size on disk: float32 for a small one on a CPU, else bfloat16."""
    if device.type == "cpu" and weights_bytes < _LARGE_BYTES:
        return torch.float32
    return torch.bfloat16


def needs_float32_products(
    device: torch.device, dtype: torch.dtype, capabilities: Mapping[str, Any] | None = None
) -> bool:
    """Return whether the device would emulate the products of this number type."""
    return device.type == "cpu" and dtype == torch.bfloat16 and not has_bfloat16(capabilities)


class Float32Products(TorchFunctionMode):
    """A context that multiplies matrices and convolves in float32, and returns the number type that went in.

    A weight is converted for the time of its product, so the memory is that of bfloat16, and files stay mapped.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # whatever torch's function returns
        """Call the function, with tensors in float32 if it is a product of bfloat16 tensors."""
        kwargs = kwargs or {}
        is_product = func in _PRODUCTS and any(_is_bfloat16(value) for value in args)
        if not is_product:
            return func(*args, **kwargs)
        product = func(
            *map(_to_float32, args), **{name: _to_float32(value) for name, value in kwargs.items()}
        )
        return product.to(torch.bfloat16)


def _is_bfloat16(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def _to_float32(value: Any) -> Any:
    return value.float() if _is_bfloat16(value) else value

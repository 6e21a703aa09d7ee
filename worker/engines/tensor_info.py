"""Defines what the header of a weights file says about its tensors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Describes one tensor of a file."""

    dtype: str
    """As the file's format writes it: BF16, F8_E4M3, Q4_K …"""
    shape: tuple[int, ...]
    """Of the values, not of their quantised blocks."""
    offset: int = 0
    """First byte in the file. Set for GGUF only."""
    size_bytes: int = 0
    """Set for GGUF only."""


Tensors = dict[str, TensorInfo]
"""The tensors of one or more files, by name."""

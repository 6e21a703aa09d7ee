"""Copies weights from the host to the device for a while, without copying them back."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch


class LentWeights:
    """The weights of one module, of which the device gets copies. The originals stay on the host."""

    def __init__(self, module: Any, *, without: Sequence[Any] = ()) -> None:
        self.without = without
        """Submodules whose weights are left where they are."""
        self.module = module
        self._originals: list[tuple[Any, str, torch.Tensor]] = []
        self._is_pinned = False

    @property
    def size_bytes(self) -> int:
        """Return the size of the weights that are lent."""
        return sum(tensor.nbytes for _, _, tensor in self._tensors())

    def pin(self) -> bool:
        """Move the originals into pinned memory, from which copies are several times faster. Return whether that worked."""
        try:
            for owner, name, tensor in list(self._tensors()):
                setattr(owner, name, _like(tensor, tensor.detach().pin_memory()))
        except RuntimeError:  # the system limits how much a process may pin
            return False
        self._is_pinned = True
        return True

    def lend(self, device: torch.device) -> None:
        """Replace the weights by copies on the device. Weights that are lent already stay."""
        if self._originals:
            return
        copies: dict[int, torch.Tensor] = {}  # two modules may share a weight
        for owner, name, tensor in list(self._tensors()):
            if id(tensor) not in copies:
                copies[id(tensor)] = _like(
                    tensor, tensor.detach().to(device, non_blocking=self._is_pinned)
                )
            self._originals.append((owner, name, tensor))
            setattr(owner, name, copies[id(tensor)])

    def take_back(self) -> None:
        """Put the originals back, which releases the copies."""
        for owner, name, tensor in self._originals:
            setattr(owner, name, tensor)
        self._originals.clear()

    def _tensors(self) -> Iterator[tuple[Any, str, torch.Tensor]]:
        excluded = {id(part) for child in self.without for part in child.modules()}
        for owner in self.module.modules():
            if id(owner) not in excluded:
                for name, tensor in owner.named_parameters(recurse=False, remove_duplicate=False):
                    yield owner, name, tensor
                for name, tensor in owner.named_buffers(recurse=False, remove_duplicate=False):
                    yield owner, name, tensor


def _like(tensor: torch.Tensor, copy: torch.Tensor) -> torch.Tensor:
    """Return the copy as a parameter if the tensor is one."""
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(copy, requires_grad=False) if is_parameter else copy

"""A torch device beside the CPU that every machine has. Its tensors cannot be mixed with the host's.

It computes with the CPU's kernels, so it produces what the CPU produces. It records where the host of a GPU would
wait for the device. It uses torch's experimental support for backends written in Python.
"""

import weakref
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("other")
OTHER = torch.device("other:0")
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)  # noqa: SLF001 -- the operator's name
_NUMBER = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001 -- the operator's name


class _DeviceTensor(torch.Tensor):
    """A tensor on the device. Only the device itself can access the tensor it holds."""

    held: torch.Tensor
    is_copy = False
    """Whether its data came from the host as it is."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Self:
        with torch.inference_mode(False):  # an inference tensor cannot be a view of another one
            new: Any = torch.Tensor._make_wrapper_subclass  # noqa: SLF001 -- torch documents it
            there: Self = new(
                cls,
                held.size(),
                held.stride(),
                held.storage_offset(),
                dtype=held.dtype,
                device=OTHER,
            )
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(cls, *_: Any) -> Any:
        return NotImplemented  # only operations inside the mode can use it


class OtherDevice(TorchDispatchMode):
    """A mode: while it is active, tensors can be on `OTHER`."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[str] = []
        """`copy` and `number`: the operations that a GPU's host waits for. Tests may append to it."""
        self.peak_copied_bytes = 0
        """Largest size of all data on the device that was copied from the host."""
        self._copies: weakref.WeakValueDictionary[int, _DeviceTensor] = (
            weakref.WeakValueDictionary()
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one torch operation on the device of its tensors."""
        kwargs = kwargs or {}
        if not {*types} <= {_DeviceTensor, torch.Tensor, torch.nn.Parameter}:
            return NotImplemented  # tensors of tensors, such as torchao's, arrive by their parts
        with self:
            whole = func.decompose(*args, **kwargs)
        if whole is not NotImplemented:
            return whole
        leaves, shape = pytree.tree_flatten((args, kwargs))
        there = {id(leaf.held): leaf for leaf in leaves if isinstance(leaf, _DeviceTensor)}
        here = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.device != OTHER]
        target = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        goes_there = target.type == OTHER.type if target is not None else bool(there)
        if not there and not goes_there:
            return func(*args, **kwargs)
        if func in _COPIES and (here or not goes_there):
            self.journal.append("copy")
        elif func is _NUMBER:
            self.journal.append("number")
        elif there and any(tensor.ndim for tensor in here):
            raise RuntimeError(f"{func}: some tensors are on the device and some are not")
        args, kwargs = pytree.tree_unflatten([_as_held(leaf) for leaf in leaves], shape)
        result = func(*args, **kwargs)
        if not goes_there or result is None:
            return result
        is_copy = func in _COPIES and bool(here)
        return pytree.tree_map_only(
            torch.Tensor,
            lambda held: (
                there[id(held)]
                if id(held) in there
                else self._wrap(held, there.values(), is_copy=is_copy)
            ),
            result,
        )

    def _wrap(
        self, held: torch.Tensor, sources: Iterable[_DeviceTensor], *, is_copy: bool
    ) -> _DeviceTensor:
        tensor = _DeviceTensor(held)
        tensor.is_copy = is_copy or any(
            source.is_copy and _address(source.held) == _address(held) for source in sources
        )
        if tensor.is_copy:
            self._copies[id(tensor)] = tensor
        if is_copy:
            sizes = {
                _address(copy.held): copy.held.untyped_storage().nbytes()
                for copy in self._copies.values()
            }
            self.peak_copied_bytes = max(self.peak_copied_bytes, sum(sizes.values()))
        return tensor


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _as_held(leaf: Any) -> Any:
    if isinstance(leaf, _DeviceTensor):
        return leaf.held
    is_there = isinstance(leaf, torch.device) and leaf.type == OTHER.type
    return torch.device("cpu") if is_there else leaf

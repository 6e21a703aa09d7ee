"""Leaves out the parts of torch that an engine does not use, although diffusers and transformers import them.

Without a GPU these are the compiler, `torch._dynamo`, with sympy, and what spreads a model over several machines: together 70 MB
of memory and more than a second of processor time at each start.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from worker.engines.device import choose_device
from worker.engines.tuning import Quantization, Tuning

_COMPILER = "torch._dynamo"
_USED = f"{_COMPILER}._trace_wrapped_higher_order_op"  # transformers uses it without compiling


def leave_out(tuning: Tuning) -> None:
    """Leave out what these options do not use. Call it before the first import of diffusers. Raises `UnusableSetting`."""
    if not needs_compiler(tuning, choose_device(tuning.device).type):
        sys.modules[_COMPILER] = _NoCompiler(_COMPILER)
        sys.meta_path.insert(0, _CompilerFirst())
        torch.distributed.is_available = lambda: False


def needs_compiler(tuning: Tuning, device_type: str) -> bool:
    """Return whether an engine on a device of this torch type compiles, or quantises, for which torchao uses the compiler."""
    is_quantized = {tuning.quantization, tuning.text_encoder_quantization} != {Quantization.NONE}
    return is_quantized or tuning.compile.is_enabled_on(device_type)


def _unchanged(fn: Callable[..., Any] | None = None, *_options: object, **_more: object) -> Any:
    """Stand in for decorators that tell the compiler about a function, with or without options."""
    return _unchanged if fn is None else fn


class _NoCompiler(ModuleType):
    """Has what libraries use of the compiler without compiling. Any other name loads the compiler in its place."""

    allow_in_graph = assume_constant_result = disable = staticmethod(_unchanged)
    eval_frame = SimpleNamespace(OptimizedModule=())  # no object is an instance of it

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = [str(Path(torch.__file__).parent / "_dynamo")]

    @staticmethod
    def is_compiling() -> bool:
        """Say that no compilation runs."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` looks for them in every module
            raise AttributeError(name)
        return getattr(_load_compiler(), name)


class _CompilerFirst(MetaPathFinder, Loader):
    """Loads the compiler before any module of it that needs the rest of it."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that the compiler has loaded meanwhile."""
        if not fullname.startswith(f"{_COMPILER}.") or fullname == _USED:
            return None
        _load_compiler()
        return ModuleSpec(fullname, self) if fullname in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the loaded module."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, because the module is loaded."""


def _load_compiler() -> ModuleType:
    if isinstance(sys.modules.get(_COMPILER), _NoCompiler):
        del sys.modules[_COMPILER]
    return import_module(_COMPILER)

"""Loads some packages of diffusers only when a name is taken from them, because they import every model that diffusers knows.

An engine needs two of these models. The others are 11 MB of memory and half a second of processor time at each start.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGES = (
    "diffusers.models.autoencoders",
    "diffusers.models.transformers",
    "diffusers.models.unets",
)


def load_lazily(packages: Iterable[str] = PACKAGES) -> None:
    """Let the first import of each package give a stand-in for it. Its modules are imported as before, one by one."""
    sys.meta_path.insert(0, _StandIns(packages))


class _StandIns(MetaPathFinder, Loader):
    """Finds each package, and leaves out its code at the first import."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._packages = set(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a package where Python would, the first time."""
        if fullname not in self._packages:
            return None
        self._packages.discard(fullname)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the stand-in."""
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the import system gives the stand-in the path of the package."""


class _StandIn(ModuleType):
    """Has the modules of a package that were imported. Any other name loads the package in its place."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` looks for them in every module
            raise AttributeError(name)
        return getattr(self._load(), name)

    def _load(self) -> ModuleType:
        package = self.__name__
        if sys.modules.get(package) is self:
            del sys.modules[package]
        loaded = import_module(package)
        for child, module in vars(self).items():
            if isinstance(module, ModuleType):  # an import sets it only where it loads the module
                vars(loaded).setdefault(child, module)
        return loaded

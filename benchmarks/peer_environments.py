"""Installs the other servers from PyPI, each into an environment of its own in the user's cache, where every checkout finds it."""

import os
import re
import sys
from pathlib import Path

from benchmarks.peer_servers.job import PICTURES
from tests.support import processes

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "klein" / "peers"
LOCK = Path("requirements.lock")
INSTALL_S = 1800.0
OF_THE_JOB = ("pillow",)
OF_DRAWING = ("torch", "diffusers", "transformers", "accelerate", "numpy", "safetensors")
"""What a script needs that draws with the built-in model."""


def python_of(name: str) -> Path:
    """Return the Python of an environment."""
    return CACHE / name / "bin" / "python"


def install(name: str, requirements: tuple[str, ...], *, draws: bool) -> None:
    """Create an environment with these requirements and those of the job, unless it is there.

    Files are copied, so that no environment shares memory with another. The model is loaded once, so that no server
    compiles Python when its start is measured.
    """
    packages = [*requirements, *map(_pin, OF_THE_JOB + OF_DRAWING * draws)]
    environment = CACHE / name
    mark = environment / "installed"
    if mark.exists() and mark.read_text().split() == packages:
        return
    print(f"installing {name} into {environment} …", file=sys.stderr, flush=True)
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, environment)
    into = ("--link-mode", "copy", "--python", python_of(name))
    _uv("pip", "install", "--quiet", *into, *_cpu_torch(), *packages)
    if draws:
        script: list[str | Path] = [python_of(name), "-m", "benchmarks.peer_servers.bare"]
        environ = os.environ | {"PEER_JOB": PICTURES, "PYTHONDONTWRITEBYTECODE": ""}
        processes.run(script, env=environ, input="", timeout_s=INSTALL_S, check=True)
    mark.write_text("\n".join(packages))


def _uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    processes.run(command, timeout_s=INSTALL_S, check=True, stderr=None)


def _cpu_torch() -> list[str]:
    """Return where to find torch without CUDA: where pip finds wheels, if that is set, else in PyTorch's index."""
    folders = os.environ.get("PIP_FIND_LINKS", "").split()
    if not folders:
        return ["--torch-backend", "cpu"]
    return [argument for folder in folders for argument in ("--find-links", folder)]


def _pin(name: str) -> str:
    """Return the requirement of a package with the version of the lock file."""
    pin = re.search(rf"^{name}==\S+", LOCK.read_text(), re.MULTILINE)
    if pin is None:
        raise LookupError(f"{LOCK} has no version of {name}")
    return pin[0]

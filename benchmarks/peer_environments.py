"""Installs the other servers from PyPI, each into an environment of its own below `.peers`, where they stay for the next run."""

import sys
from pathlib import Path

from tests.support import processes

ENVIRONMENTS = Path(".peers")
INSTALL_S = 900.0
COMMON = ("pillow==13.0.0",)  # of the job


def python_of(name: str) -> Path:
    """Return the Python of an environment."""
    return ENVIRONMENTS.absolute() / name / "bin" / "python"


def install(name: str, requirements: tuple[str, ...]) -> None:
    """Create an environment with these requirements, unless it is there."""
    wanted = "\n".join((*requirements, *COMMON))
    environment = ENVIRONMENTS / name
    mark = environment / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"installing {name} …", flush=True)
    packages = wanted.splitlines()
    for arguments in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        ["pip", "install", "--quiet", "--python", str(python_of(name)), *packages],
    ):
        command = [sys.executable, "-m", "uv", *arguments]
        processes.run(command, timeout_s=INSTALL_S, check=True)
    mark.write_text(wanted)

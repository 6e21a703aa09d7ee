"""Checks for `klein doctor` that the weights exist and that a worker would load them.

The check itself is the worker's (`worker.weights.check`), in a process of its own because `app` imports no torch.
"""

import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec

from app.commands.findings import Finding, ok, problem, warning
from app.commands.slow_check import run_python, unfinished
from app.settings import Settings

CHECK_S = 60.0  # for all checkpoints: to import torch and read the headers of the files
_REFUSED, _MISSING = 1, 3  # exit codes of the check


def check_weights(settings: Settings, limit_s: float = CHECK_S) -> Iterator[Finding]:
    """Check the weights that a worker on this machine would load. They share `limit_s`."""
    if find_spec("worker") is None:
        yield warning(
            "weights", "the package `worker` is not installed", "install it on hosts of workers"
        )
        return
    if find_spec("torch") is None:
        names = ", ".join(settings.weights) or "the built-in model"
        yield warning(
            "weights",
            f"{names}: cannot be checked without torch",
            "run pip install '.[worker]' on hosts of workers",
        )
        return
    ends_at = time.monotonic() + limit_s
    for weights in settings.weights or (None,):
        yield from _check(settings, weights, max(ends_at - time.monotonic(), 0))


def _check(settings: Settings, weights: str | None, limit_s: float) -> Iterator[Finding]:
    """Check one checkpoint. None means the built-in model."""
    name = weights or "the built-in model"
    arguments = ["-P", "-m", "worker.weights.check", *_arguments(settings, weights)]
    try:
        completed = run_python(arguments, f"reading {name}", limit_s)
    except subprocess.TimeoutExpired:
        text = f"{name}: not checked, because the time for all weights was over"
        yield unfinished("weights", text, "check that the disk responds")
        return
    lines = completed.stdout.strip().splitlines()
    if completed.returncode == 0 and lines:
        yield ok("weights", f"{name}: {lines[-1]}")
    elif completed.returncode == _REFUSED and lines:
        yield problem("weights", lines[-1], "a worker refuses to start with these weights")
    elif completed.returncode == _MISSING and lines:
        yield warning(
            "weights", lines[-1], "without internet access, set KLEIN_WEIGHTS to a folder"
        )
    else:
        reason = (completed.stderr.strip().splitlines() or ["no message"])[-1]
        yield problem("weights", f"{name}: cannot be checked: {reason}", "install klein again")


def _arguments(settings: Settings, weights: str | None) -> list[str]:
    options = {
        "weights": weights,
        "transformer": settings.transformer,
        "text-encoder": settings.text_encoder,
        "vae": settings.vae,
        "quantization": settings.quantization,
        "text-encoder-quantization": settings.text_encoder_quantization,
        "device": settings.device,
    }
    return [f"--{name}={value}" for name, value in options.items() if value is not None]

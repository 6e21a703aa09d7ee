"""Checks the machine for `klein doctor`: PyTorch, GPU, memory and disk."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.commands.findings import Finding, ok, problem, warning
from app.settings import Settings

GB = 1e9  # bytes
DISK_LOW, DISK_OUT = 5 * GB, 0.5 * GB
MEMORY_LOW = 2 * GB
TORCH_S = 120  # to import torch on a busy machine
# run in a child process: `app` never imports torch
_SCRIPT = """
import torch
print(torch.__version__)
print(torch.version.cuda or "")
for k in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(k)
    print(f"{torch.cuda.get_device_name(k)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
"""


def check_host(settings: Settings) -> Iterator[Finding]:
    """Check PyTorch, GPU, memory and disk."""
    yield from _torch()
    yield from _memory()
    yield from _disk(settings.data)


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        advice = "API and courier need none; on a host of workers run: pip install '.[worker]'"
        yield warning("torch", "not installed", advice)
        return
    try:
        completed = subprocess.run(  # noqa: S603 -- our own interpreter and script
            [sys.executable, "-c", _SCRIPT],
            capture_output=True,
            text=True,
            timeout=TORCH_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        yield problem(
            "torch", f"does not load within {TORCH_S} s", "check that the GPU driver responds"
        )
        return
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or ["no message"])[-1]
        yield problem(
            "torch", f"does not load: {last}", "install the version in requirements.lock again"
        )
        return
    number, cuda, *devices = completed.stdout.splitlines()
    yield ok("torch", f"{number}, {f'for CUDA {cuda}' if cuda else 'without CUDA'}")
    for device in devices:
        yield ok("gpu", device)
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


def _disk(data: Path) -> Iterator[Finding]:
    folder = data.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / GB:.1f} GB free for {data}"
    advice = "free some space, shorten KLEIN_RETENTION, or set KLEIN_DATA"
    if free < DISK_OUT:
        yield problem("disk", text, advice)
    elif free < DISK_LOW:
        yield warning("disk", text, advice)
    else:
        yield ok("disk", text)

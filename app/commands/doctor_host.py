"""The machine itself: PyTorch and its GPU, memory, and room on the disk."""

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
TORCH_S = 120  # to import it on a machine that has other things to do
# in a process of its own: the api's code never loads torch
_LOOK = """
import torch
print(torch.__version__)
print(torch.version.cuda or "")
for k in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(k)
    print(f"{torch.cuda.get_device_name(k)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
"""


def look_at_host(settings: Settings) -> Iterator[Finding]:
    """Look at what the machine has."""
    yield from _torch()
    yield from _memory()
    yield from _disk(settings.data)


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        advice = "none is needed for api and courier; where workers run: pip install '.[worker]'"
        yield warning("torch", "not installed", advice)
        return
    try:
        looked = subprocess.run(  # noqa: S603 -- our own interpreter and our own words
            [sys.executable, "-c", _LOOK],
            capture_output=True,
            text=True,
            timeout=TORCH_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        yield problem("torch", f"does not load within {TORCH_S} s", "is the GPU's driver stuck?")
        return
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or ["it says nothing"])[-1]
        yield problem("torch", f"does not load: {last}", "install it anew, by requirements.lock")
        return
    number, cuda, *devices = looked.stdout.splitlines()
    yield ok("torch", f"{number}, {f'for CUDA {cuda}' if cuda else 'without CUDA'}")
    for device in devices:
        yield ok("gpu", device)
    driver = _driver()
    if driver and not cuda:
        advice = "install the CUDA build of torch, by requirements.lock"
        yield problem("gpu", f"driver {driver}, but PyTorch was built without CUDA", advice)
    elif cuda and not devices:
        seen = f"driver {driver}" if driver else "no NVIDIA driver answers"
        advice = "update the driver, or give this container the GPU"
        yield problem("gpu", f"PyTorch sees none; {seen}", advice)
    elif not devices:
        yield warning(
            "gpu", "none: this machine draws on the CPU", "fine for the built-in model alone"
        )


def _driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(  # noqa: S603 -- the driver's own tool
            asked, capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "that does not answer"
    return told.stdout.strip().partition("\n")[0] if told.returncode == 0 else ""


def _memory() -> Iterator[Finding]:
    try:
        told = Path("/proc/meminfo").read_text()
        free = int(told.partition("MemAvailable:")[2].split()[0]) * 1024  # it counts in kB
    except (OSError, IndexError, ValueError):
        return  # macOS does not say
    words = f"{free / GB:.1f} GB free"
    if free < MEMORY_LOW:
        yield warning("memory", words, "the built-in model wants 2 GB; end something else")
    else:
        yield ok("memory", words)


def _disk(data: Path) -> Iterator[Finding]:
    folder = data.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    words = f"{free / GB:.1f} GB free for {data}"
    advice = "make room, or shorten KLEIN_RETENTION, or set KLEIN_DATA"
    if free < DISK_OUT:
        yield problem("disk", words, advice)
    elif free < DISK_LOW:
        yield warning("disk", words, advice)
    else:
        yield ok("disk", words)

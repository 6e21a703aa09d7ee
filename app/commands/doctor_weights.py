"""Whether the weights are there and whole, without loading them."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.commands.findings import Finding, ok, problem, warning
from app.settings import Settings

PREFIX_BYTES = 8  # of a .safetensors file: the length of its header
HEADER_MAX_BYTES = 100_000_000


def look_at_weights(settings: Settings) -> Iterator[Finding]:
    """Find the weights that a worker on this machine would load."""
    if settings.weights is None:
        package = find_spec("worker")
        if package is None or package.origin is None:
            yield warning("weights", "no worker here", "install klein whole where workers run")
            return
        yield from _look_at(
            Path(package.origin).parent / "weights" / "builtin", "the built-in model"
        )
        return
    folder = Path(settings.weights)
    if folder.exists():
        yield from _look_at(folder, str(folder))
    else:
        yield from _look_in_cache(settings.weights)


def damage(file: Path) -> str | None:
    """Say what is wrong with a .safetensors file, by its header and its length; None where nothing is."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(PREFIX_BYTES), "little")
        if not 0 < length <= min(HEADER_MAX_BYTES, size):
            return "has no header"
        try:
            header = json.loads(opened.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "has a damaged header"
    expected = PREFIX_BYTES + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes instead of {expected}"


def _look_at(folder: Path, name: str) -> Iterator[Finding]:
    advice = "copy or download the checkpoint again, whole"
    if not (folder / "model_index.json").is_file():
        yield problem(
            "weights", f"{name}: no model_index.json", "name a folder of the whole pipeline"
        )
        return
    files = sorted(folder.rglob("*.safetensors"))
    wrong = [f"{file.relative_to(folder)} {why}" for file in files if (why := damage(file))]
    for index in folder.rglob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text())["weight_map"].values())
        wrong += [
            f"{shard} is missing" for shard in sorted(shards) if not (index.parent / shard).exists()
        ]
    if not files:
        wrong = ["no .safetensors file"]
    if wrong:
        yield problem("weights", f"{name}: {'; '.join(wrong)}", advice)
    else:
        total = sum(file.stat().st_size for file in files)
        yield ok("weights", f"{name}: {len(files)} files, {total / 1e6:,.0f} MB, whole")


def _look_in_cache(checkpoint: str) -> Iterator[Finding]:
    if find_spec("huggingface_hub") is None:
        yield warning(
            "weights",
            f"{checkpoint}: cannot look without huggingface_hub",
            "install klein with `[worker]` where workers run",
        )
        return
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- it comes with the worker
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = snapshot_download(checkpoint, local_files_only=True)
    except LocalEntryNotFoundError:
        yield warning(
            "weights",
            f"{checkpoint} is not on this machine",
            "the first start downloads it; if there is no way out, name a folder",
        )
    except HFValidationError:
        yield problem(
            "weights",
            f"KLEIN_WEIGHTS={checkpoint}: no such folder, and not a hub id (owner/name)",
            "name a folder of the checkpoint, or a hub id",
        )
    else:
        yield from _look_at(Path(folder), checkpoint)

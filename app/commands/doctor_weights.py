"""Checks for `klein doctor` that the weights exist and are complete, without loading them."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.commands.findings import Finding, ok, problem, warning
from app.settings import Settings

PREFIX_BYTES = 8  # of a .safetensors file: the length of its header
HEADER_MAX_BYTES = 100_000_000


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


def damage(file: Path) -> str | None:
    """Return what is wrong with a .safetensors file, judged by header and length, or None."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(PREFIX_BYTES), "little")
        if not 0 < length <= min(HEADER_MAX_BYTES, size):
            return "has no header"
        try:
            header = json.loads(stream.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "has a damaged header"
    expected = PREFIX_BYTES + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes instead of {expected}"


def _check_folder(folder: Path, name: str) -> Iterator[Finding]:
    advice = "copy or download the checkpoint again"
    if not (folder / "model_index.json").is_file():
        yield problem(
            "weights",
            f"{name}: no model_index.json",
            "set KLEIN_WEIGHTS to the folder of the whole pipeline",
        )
        return
    files = sorted(folder.rglob("*.safetensors"))
    problems = [f"{file.relative_to(folder)} {why}" for file in files if (why := damage(file))]
    for index in folder.rglob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text())["weight_map"].values())
        problems += [
            f"{shard} is missing" for shard in sorted(shards) if not (index.parent / shard).exists()
        ]
    if not files:
        problems = ["no .safetensors file"]
    if problems:
        yield problem("weights", f"{name}: {'; '.join(problems)}", advice)
    else:
        total = sum(file.stat().st_size for file in files)
        yield ok("weights", f"{name}: {len(files)} files, {total / 1e6:,.0f} MB, complete")


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

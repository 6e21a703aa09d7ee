"""Lists the weights files in the folder of one component."""

import json
import re
from pathlib import Path

from worker.engines.errors import WeightsError
from worker.engines.tensor_file import SUFFIXES

FILE_NAMES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""The name without suffix that each library gives to a file of weights."""
_SHARD = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<variant>\.[\w-]+)?\.safetensors"
)
_PREFERRED_VARIANTS = ("bf16", "fp32")
_MAX_FILES = 1000  # looked at in one folder


def list_component_files(folder: Path, library: str) -> list[Path]:
    """List the files that hold a component: one file, shards with or without an index, or a variant.

    Raises `WeightsError` if files are missing, or if several sets of weights lie in the folder.
    """
    name = FILE_NAMES[library]
    single = folder / f"{name}.safetensors"
    if single.exists():
        return [single]
    index = folder / f"{name}.safetensors.index.json"
    if index.exists():
        return _indexed(index)
    files = weights_in(folder)
    if not files:
        _check_links(folder)
        return []
    groups: dict[str, list[Path]] = {}
    for file in files:
        shard = _SHARD.fullmatch(file.name)
        key = f"{shard['stem']} of {shard['count']}{shard['variant'] or ''}" if shard else file.name
        groups.setdefault(key, []).append(file)
    chosen = [
        key
        for variant in _PREFERRED_VARIANTS
        for key in groups
        if re.search(rf"\.{variant}\b", key)
    ] or list(groups)
    if len(groups) > 1 and len(chosen) != 1:
        raise WeightsError(
            f"{folder} holds several sets of weights: {', '.join(files[0].name for files in groups.values())}. "
            f"Keep one, or rename it to {single.name}"
        )
    return _complete(folder, groups[chosen[0]])


def _check_links(folder: Path) -> None:
    """Name a link without its file: the hub's cache holds links, and copies of it may lack what they point to."""
    for path in list_folder(folder):
        if path.suffix in SUFFIXES and path.is_symlink() and not path.exists():
            raise WeightsError(
                f"{path} is a link to a file that does not exist. Copy or download the checkpoint again"
            )


def _complete(folder: Path, files: list[Path]) -> list[Path]:
    """Check that all shards are there."""
    shard = _SHARD.fullmatch(files[0].name)
    if shard is not None and len(files) != int(shard["count"]):
        raise WeightsError(
            f"{folder} holds {len(files)} of {int(shard['count'])} shards. Copy or download the others"
        )
    return files


def _indexed(index: Path) -> list[Path]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WeightsError(f"{index} is not an index of shards; copy it again") from exc
    if missing := [shard.name for shard in shards if not shard.exists()]:
        raise WeightsError(
            f"{index.parent} lacks {', '.join(missing[:2])}, which {index.name} lists"
        )
    return shards


def weights_in(folder: Path) -> list[Path]:
    """List the weights files of a folder."""
    return [path for path in list_folder(folder) if path.suffix in SUFFIXES and path.is_file()]


def list_folder(folder: Path) -> list[Path]:
    """List a folder. An unreadable one is empty."""
    try:
        return sorted(folder.iterdir())[:_MAX_FILES]
    except OSError:
        return []

"""Inspects a checkpoint without torch: finds and checks its files, and determines its revision."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from app.predictions.checkpoint_kind import CheckpointKind
from worker.engines.errors import WeightsError
from worker.engines.manifest import FILE_NAME, Manifest, read_manifest
from worker.engines.sources import Sources, find_sources
from worker.engines.tensor_info import TensorInfo
from worker.engines.tensor_names import Component

_SAMPLE_BYTES = 1 << 20
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_WIDTH_OF_9B = 4096
# A folder in the cache of the Hugging Face hub: models--OWNER--NAME/snapshots/COMMIT.
_HUB_SNAPSHOT = re.compile(r"/models--[^/]+--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFolder:
    """Describes a checkpoint whose files are complete."""

    path: Path
    """The diffusers folder that holds the configuration and the tokenizer."""
    sources: Sources
    manifest: Manifest
    kind: CheckpointKind
    revision: str
    """The commit of a hub snapshot, or a hash of the content."""
    size_bytes: int
    """Total size of the weights in bfloat16."""


def inspect_folder(path: Path, overrides: Mapping[Component, Path] | None = None) -> WeightsFolder:
    """Find the files of a checkpoint, and check that they are complete. `overrides` replaces single components.

    `path` is a diffusers folder, a single file, or a folder of ComfyUI. Raises `WeightsError`, which names the file.
    """
    sources = find_sources(path, overrides or {})
    base = sources.base
    for name in ("scheduler", "tokenizer"):
        if not (base / name).is_dir():
            raise WeightsError(
                f"weights folder {base} has no {name} folder; copy or download the checkpoint again"
            )
    _check_configuration(base)
    _check_chat_template(base / "tokenizer")
    snapshot = _HUB_SNAPSHOT.search(base.as_posix()) if sources.is_folder else None
    files = {file.path: file for source in sources.components for file in source.files}
    transformer = sources.components[0]
    own_name = base.name if sources.is_folder else transformer.name.stem
    kind = _read_kind(sources)
    return WeightsFolder(
        path=base,
        sources=sources,
        manifest=read_manifest(
            base, name=snapshot["name"] if snapshot else own_name, licence=kind.licence
        ),
        kind=kind,
        revision=snapshot["commit"] if snapshot else _content_revision(sources),
        size_bytes=sum(
            _size_in_bfloat16(tensor) for file in files.values() for tensor in file.tensors.values()
        ),
    )


def _size_in_bfloat16(tensor: TensorInfo) -> int:
    values_per_item = 2 if tensor.dtype == "U8" else 1  # two 4-bit values in a byte
    return 2 * values_per_item * prod(tensor.shape)


def _read_kind(sources: Sources) -> CheckpointKind:
    is_distilled = sources.index.get("is_distilled") is True
    if _width(sources) < _WIDTH_OF_9B:
        return CheckpointKind.DISTILLED if is_distilled else CheckpointKind.BASE
    return CheckpointKind.DISTILLED_9B if is_distilled else CheckpointKind.BASE_9B


def _width(sources: Sources) -> int:
    """Return the width of the transformer: 3072 for the 4B checkpoints, 4096 for the 9B ones."""
    file = sources.components[0].config / "config.json"
    try:
        config = json.loads(file.read_bytes())
        return int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0  # the check of the component says what is wrong


def _check_configuration(base: Path) -> None:
    """Check the files that libraries read later, with errors that name no file, or replace by an empty tokenizer."""
    if not (base / "scheduler" / "scheduler_config.json").exists():
        raise WeightsError(
            f"{base}/scheduler has no scheduler_config.json; copy or download the checkpoint again"
        )
    tokenizer = base / "tokenizer"
    if not any(all((tokenizer / name).exists() for name in names) for names in _VOCABULARIES):
        raise WeightsError(
            f"{tokenizer} has no tokenizer.json, nor vocab.json and merges.txt; copy or download the checkpoint again"
        )
    for file in (
        base / "scheduler" / "scheduler_config.json",
        tokenizer / "tokenizer.json",
        tokenizer / "tokenizer_config.json",
        *(base / component / "config.json" for component in Component),
    ):
        _check_json(file)


def _check_json(file: Path) -> None:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return  # reported where it is needed
    except (OSError, ValueError, RecursionError) as exc:
        raise WeightsError(
            f"{file} is not readable JSON: {exc}. Copy or download it again"
        ) from exc
    if not isinstance(content, dict):
        raise WeightsError(f"{file} holds no JSON object. Copy or download it again")


def _check_chat_template(tokenizer: Path) -> None:
    if any(tokenizer.glob("chat_template.*")):
        return
    try:
        config = json.loads((tokenizer / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise WeightsError(
            f"{tokenizer}/tokenizer_config.json is not readable: {exc}. Copy or download it again"
        ) from exc
    if not config.get("chat_template"):
        raise WeightsError(f"{tokenizer} has no chat template; add its chat_template.jinja")


def _content_revision(sources: Sources) -> str:
    """Hash the name, size, first and last MiB of each file. This takes milliseconds for 16 GB."""
    digest = hashlib.sha256()
    configs = [sources.base / FILE_NAME]
    configs += [source.config / "config.json" for source in sources.components]
    files = [file.path for source in sources.components for file in source.files]
    for file in [*dict.fromkeys(files), *(config for config in configs if config.exists())]:
        size_bytes = file.stat().st_size
        is_inside = file.is_relative_to(sources.base)
        name = file.relative_to(sources.base).as_posix() if is_inside else file.name
        digest.update(f"{name} {size_bytes}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size_bytes > _SAMPLE_BYTES:
                stream.seek(-_SAMPLE_BYTES, 2)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()

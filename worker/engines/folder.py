"""Looks at a weights folder without loading it: is it a klein pipeline, is it whole, which revision."""

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from app.predictions.checkpoint_kind import CheckpointKind
from worker.engines.errors import WeightsError
from worker.engines.manifest import FILE_NAME, Manifest, read_manifest

PIPELINE_CLASS = "Flux2KleinPipeline"
_COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
_WITH_WEIGHTS = ("text_encoder", "transformer", "vae")
_SAMPLE_BYTES = 1 << 20
# How the hub's cache names what it downloaded: models--OWNER--NAME/snapshots/COMMIT.
_HUB_SNAPSHOT = re.compile(r"/models--[^/]+--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
_LARGEST_HEADER_BYTES = 100 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFolder:
    """A folder that passed every check that needs no torch."""

    path: Path
    manifest: Manifest
    kind: CheckpointKind
    revision: str
    size_bytes: int
    """Of the safetensors files together."""


def inspect_folder(path: Path) -> WeightsFolder:
    """Check the folder file by file; raises `WeightsError` with one line that names the file."""
    if not path.is_dir():
        raise WeightsError(f"weights folder {path} does not exist or is not a folder")
    index = _read_index(path)
    for name in _COMPONENTS:
        if not (path / name).is_dir():
            raise WeightsError(f"weights folder {path} lacks its {name} folder")
    _check_chat_template(path / "tokenizer")

    files: list[Path] = []
    for name in _WITH_WEIGHTS:
        found = sorted((path / name).glob("*.safetensors"))
        if not found:
            raise WeightsError(f"{path / name} holds no .safetensors file; pickles are not loaded")
        files.extend(found)
    for file in files:
        _check_whole(file)

    snapshot = _HUB_SNAPSHOT.search(path.as_posix())
    return WeightsFolder(
        path=path,
        manifest=read_manifest(path, name=snapshot["name"] if snapshot else path.name),
        kind=_kind(index),
        revision=snapshot["commit"] if snapshot else _revision(path, files),
        size_bytes=sum(file.stat().st_size for file in files),
    )


def _read_index(path: Path) -> dict[str, object]:
    file = path / "model_index.json"
    try:
        index = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is not a diffusers folder: it has no model_index.json"
        ) from None
    except (OSError, ValueError) as exc:
        raise WeightsError(f"{file} is not readable JSON: {exc}") from exc
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found != PIPELINE_CLASS:
        raise WeightsError(f"{path} holds a {found or 'nameless pipeline'}, not a {PIPELINE_CLASS}")
    return dict(index)


def _kind(index: dict[str, object]) -> CheckpointKind:
    is_distilled = index.get("is_distilled") is True
    return CheckpointKind.DISTILLED if is_distilled else CheckpointKind.BASE


def _check_chat_template(tokenizer: Path) -> None:
    if any(tokenizer.glob("chat_template.*")):
        return
    try:
        config = json.loads((tokenizer / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise WeightsError(f"{tokenizer}/tokenizer_config.json is not readable: {exc}") from exc
    if not config.get("chat_template"):
        raise WeightsError(f"{tokenizer} has no chat template; copy chat_template.jinja beside it")


def _check_whole(file: Path) -> None:
    """Compare the file's size with what its header promises (safetensors README, "Format")."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (header_bytes,) = struct.unpack("<Q", stream.read(8))
            if header_bytes > min(size, _LARGEST_HEADER_BYTES):
                raise WeightsError(f"{file} is not a whole safetensors file: its header is cut off")
            header = json.loads(stream.read(header_bytes))
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as exc:
        raise WeightsError(f"{file} is not a safetensors file (a Git LFS pointer?)") from exc
    promised = 8 + header_bytes + max(ends, default=0)
    if size < promised:
        raise WeightsError(f"{file} is truncated: {size} of {promised} bytes")


def _revision(path: Path, files: list[Path]) -> str:
    """Hash names, sizes, and the first and last MiB of each file: milliseconds for 16 GB."""
    digest = hashlib.sha256()
    configs = [path / FILE_NAME, *(path / name / "config.json" for name in _WITH_WEIGHTS)]
    for file in [*files, *(config for config in configs if config.exists())]:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                stream.seek(-_SAMPLE_BYTES, 2)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()

"""Hides packages that the engine does not use from diffusers and transformers, which would import them: it takes seconds."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.engines.tuning import Quantization, Tuning


def unused_packages(weights: Path, tuning: Tuning) -> Iterator[str]:
    """Yield the packages that these weights and options do not need."""
    yield "peft"  # `LoraManager` applies LoRAs
    if {tuning.quantization, tuning.text_encoder_quantization} == {Quantization.NONE}:
        yield "torchao"
    if not any(map(_may_be_gguf, (weights, *tuning.components.values()))):
        yield "gguf"


def hide(packages: Iterable[str]) -> None:
    """Let imports of these packages fail in this process, as if they were not installed."""
    for package in packages:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]  # as the import system has it


def _may_be_gguf(path: Path) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.suffix.lower() == ".gguf" for file in files)

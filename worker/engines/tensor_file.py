"""Opens a weights file of any format that klein reads, without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.engines.errors import WeightsError
from worker.engines.gguf_header import MAGIC, read_gguf_header
from worker.engines.safetensors_header import read_header_and_metadata
from worker.engines.tensor_info import Tensors

SUFFIXES = (".safetensors", ".gguf")
_MAX_NAME_LENGTH = 200  # GGUF allows 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """Holds the header of one weights file."""

    path: Path
    tensors: Tensors
    is_gguf: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    """The texts that a safetensors file's writer added."""


def open_tensor_file(path: Path) -> TensorFile:
    """Read a file's header. Raises `WeightsError` if the file is damaged, or of another format."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as exc:
        raise WeightsError(f"{path} cannot be read: {exc.strerror}") from exc
    is_gguf = start == MAGIC
    tensors, metadata = (read_gguf_header(path), {}) if is_gguf else read_header_and_metadata(path)
    if any(len(name) > _MAX_NAME_LENGTH or not name.isprintable() for name in tensors):
        raise WeightsError(
            f"{path} is damaged: a tensor has no proper name. Copy or download it again"
        )
    return TensorFile(path=path, tensors=tensors, is_gguf=is_gguf, metadata=metadata)

"""Reads the header of a safetensors file of a checkpoint, and words what is wrong with it."""

from pathlib import Path

from app.safetensors_header import BadSafetensors, read_safetensors_header
from worker.engines.errors import WeightsError
from worker.engines.tensor_info import TensorInfo, Tensors

_HEADER_MAX_BYTES = 100 << 20


def read_header(file: Path) -> Tensors:
    """Read the names, types and shapes of a file's tensors. See `read_header_and_metadata`."""
    return read_header_and_metadata(file)[0]


def read_header_and_metadata(file: Path) -> tuple[Tensors, dict[str, str]]:
    """Read a file's tensors and the texts that its writer added.

    Raises `WeightsError` if the file is truncated, damaged, or not a safetensors file.
    """
    try:
        header = read_safetensors_header(file, _HEADER_MAX_BYTES)
    except OSError as exc:
        raise WeightsError(f"{file} cannot be read: {exc.strerror}") from exc
    except BadSafetensors as exc:
        raise WeightsError(f"{file} {exc}") from None
    tensors = {
        name: TensorInfo(dtype=header.dtypes[name], shape=shape)
        for name, shape in header.shapes.items()
    }
    return tensors, header.metadata

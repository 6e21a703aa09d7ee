"""Names files that are no safetensors files by their first bytes. A download often saves the page or the error of a server."""

from codecs import BOM_UTF8

_KINDS = (
    (b"<", "a web page or XML, such as the error of a server"),
    (b"{", "JSON, such as the error of a server"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"\x89HDF", "an HDF5 file"),
)


def name_foreign_file(start: bytes) -> str | None:
    """Return what a file is whose first bytes are no length of a header. Returns None for unknown files.

    Ask only if the length that they would be is impossible: a length may begin with any byte.
    """
    text = start.removeprefix(BOM_UTF8).lstrip()
    return next((name for beginning, name in _KINDS if text.startswith(beginning)), None)

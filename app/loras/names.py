"""Checks the names of LoRA files: relative paths in the operator's folder that cannot leave it."""

import unicodedata
from pathlib import Path, PurePosixPath

NAME_MAX_LENGTH = 400  # characters
SUFFIX = ".safetensors"
_IN_FOLDERS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""The files that PEFT and diffusers write into a folder of their own."""
PEFT_FILE, PEFT_CONFIG = _IN_FOLDERS[0], "adapter_config.json"
CONFIG_MAX_BYTES = 1024 * 1024
NAME_RULE = "name a file of the LoRA folder, such as ink.safetensors or styles/ink.safetensors"


def is_safe_name(name: str) -> bool:
    """Return whether a name is a relative path of visible names, with any characters that can be printed."""
    parts = name.split("/")
    return (
        0 < len(name) <= NAME_MAX_LENGTH
        and "\\" not in name
        and all(part and not part.startswith(".") and part == part.strip() for part in parts)
        and all(unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"} for c in name)
        and not any(c in _DIRECTIONS for c in name)
    )


_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that show a name in another order than it has."""


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of a name: the file itself, or that in the folder which PEFT or diffusers wrote."""
    if not is_safe_name(name):
        return None
    path = folder.joinpath(*PurePosixPath(name).parts)
    try:
        if path.is_file():
            return path if name.lower().endswith(SUFFIX) else None
        return next((path / file for file in _IN_FOLDERS if (path / file).is_file()), None)
    except OSError:  # a name that is too long for the file system
        return None


def read_adapter_config(file: Path) -> bytes | None:
    """Read the configuration that PEFT writes beside a file, or None if there is none."""
    if file.name != PEFT_FILE:
        return None
    try:
        with file.with_name(PEFT_CONFIG).open("rb") as stream:
            return stream.read(CONFIG_MAX_BYTES)
    except FileNotFoundError:
        return None

"""Remembers which attention kernel was chosen, so that the same seed gives the same bytes after a restart."""

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

FILE_NAME = "attention.json"


class KernelChoices:
    """A file with the chosen kernel of each device, version of torch and shape. Without a folder it remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / FILE_NAME

    @classmethod
    def open(cls) -> "KernelChoices":
        """Open the file beside torch's compiled code, which depends on the same things."""
        folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        return cls(Path(folder) if folder else None)

    def get(self, key: str) -> str | None:
        """Return the kernel that was chosen before, if there is one."""
        name = self._read().get(key)
        return name if isinstance(name, str) else None

    def keep(self, key: str, name: str) -> None:
        """Remember a choice. A folder that cannot be written costs only the memory."""
        if self._file is None:
            return
        unfinished = self._file.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(self._read() | {key: name}, indent=1))
            unfinished.replace(self._file)

    def _read(self) -> dict[str, object]:
        try:
            choices = json.loads(self._file.read_bytes()) if self._file else {}
        except (OSError, ValueError):
            return {}
        return choices if isinstance(choices, dict) else {}

"""Brings fetched LoRAs from the storage onto this machine, where the engine process reads them."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from app.loras.names import PEFT_CONFIG, PEFT_FILE
from app.storage import Storage
from app.storage.errors import FileMissing


class LoraFiles:
    """Finds the local file of a storage key. Copies of a remote storage's files are kept within a limit."""

    def __init__(self, storage: Storage, folder: Path, max_bytes: int) -> None:
        self._storage = storage
        self._folder = folder
        self._max_bytes = max_bytes

    def find(self, key: str) -> Path:
        """Return the local file of a key. Raises FileMissing or StorageError."""
        if self._storage.origin is None:
            located = self._storage.locate(key)
            return Path(located)
        _, digest, name = PurePosixPath(key).parts
        file = self._folder / digest / name
        if not file.exists():
            self._download(key, digest, name)
        os.utime(file.parent)  # the time of its last use
        return file

    def _download(self, key: str, digest: str, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as unfinished:
            self._copy(key, Path(unfinished) / name)
            if name == PEFT_FILE:
                with suppress(FileMissing):
                    config = str(PurePosixPath(key).with_name(PEFT_CONFIG))
                    self._copy(config, Path(unfinished) / PEFT_CONFIG)
            self._make_room((Path(unfinished) / name).stat().st_size)
            whole = Path(unfinished) / digest
            whole.mkdir()
            for part in list(Path(unfinished).iterdir()):
                if part != whole:
                    part.rename(whole / part.name)
            with suppress(OSError):  # another worker was faster
                whole.rename(self._folder / digest)

    def _copy(self, key: str, file: Path) -> None:
        parts = self._storage.read(key)
        first = next(parts, b"")  # a missing file leaves no empty copy
        with file.open("wb") as copy:
            copy.write(first)
            copy.writelines(parts)

    def _make_room(self, size_bytes: int) -> None:
        """Delete the copies used longest ago until another file is within the limit."""
        copies = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        copies.sort(key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(f.stat().st_size for f in path.iterdir()) for path in copies}
        total = sum(sizes.values()) + size_bytes
        for path in copies:
            if total <= self._max_bytes:
                return
            total -= sizes[path]
            shutil.rmtree(path, ignore_errors=True)

"""Lists the LoRA files of the operator's folder, and says which models they fit."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from app.loras.errors import IncompatibleLora
from app.loras.header import read_header
from app.loras.module_names import modules_of
from app.loras.names import SUFFIX, find_file, is_safe_name, read_adapter_config
from app.loras.plan import plan_changes
from app.loras.strength import read_config
from app.loras.transformer import PUBLISHED, TransformerSize
from app.loras.trigger_words import read_trigger_words

FILES_MAX = 1000
_FOLDERS_MAX = 1000  # visited in one listing
_REMEMBERED = 2 * FILES_MAX  # files


class UnknownLora(Exception):
    """The folder has no such file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraInfo:
    """What is known about a LoRA file from its header."""

    path: Path
    size_bytes: int
    trigger_words: tuple[str, ...]
    problem: str | None
    """Why no model can use it. None unless it is damaged."""
    _fits: dict[TransformerSize, str | None] = field(default_factory=dict, repr=False)

    @property
    def bases(self) -> tuple[str, ...]:
        """The published checkpoints that it fits."""
        return tuple(n for n, size in PUBLISHED.items() if self.why_unfit(size) is None)

    def why_unfit(self, size: TransformerSize) -> str | None:
        """Return why it does not fit a transformer of this size, or None if it fits."""
        if self.problem is not None:
            return self.problem
        if size not in self._fits:
            self._fits[size] = _why_unfit(self.path, size)
        return self._fits[size]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A file of the folder."""

    name: str
    info: LoraInfo


class Library:
    """Reads the headers of the folder's files, each once until it changes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, int, int], LoraInfo] = OrderedDict()

    @property
    def is_visible(self) -> bool:
        """Whether this process can see the folder."""
        return self._folder is not None and self._folder.is_dir()

    def list_files(self) -> list[LoraFile]:
        """List the first files of the folder and its subfolders, by name."""
        if self._folder is None:
            return []
        files = []
        for path in sorted(_iter_files(self._folder))[:FILES_MAX]:
            name = path.relative_to(self._folder).as_posix()
            if is_safe_name(name) and (info := self._info(path)) is not None:
                files.append(LoraFile(name=name, info=info))
        return files

    def find(self, name: str) -> LoraInfo:
        """Return what is known about a file. Raises UnknownLora."""
        path = None if self._folder is None else find_file(self._folder, name)
        info = None if path is None else self._info(path)
        if info is None:
            raise UnknownLora(name)
        return info

    def _info(self, path: Path) -> LoraInfo | None:
        try:
            stat = path.stat()
        except OSError:  # deleted meanwhile
            return None
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            known = self._known.get(key)
        info = known or inspect_file(path)
        with self._lock:
            self._known[key] = info
            self._known.move_to_end(key)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return info


def inspect_file(path: Path) -> LoraInfo:
    """Read what is known about a LoRA file from its header. Raises OSError if it cannot be opened at all."""
    size_bytes = path.stat().st_size
    problem, words = None, []
    try:
        words = read_trigger_words(read_header(path).metadata)
    except IncompatibleLora as exc:
        problem = str(exc)
    except OSError as exc:
        problem = f"it cannot be read: {exc.strerror}"
    return LoraInfo(path=path, size_bytes=size_bytes, trigger_words=tuple(words), problem=problem)


def _why_unfit(path: Path, size: TransformerSize) -> str | None:
    try:
        header = read_header(path)
        config = read_config(header.metadata, read_adapter_config(path))
        plan_changes(header, modules_of(size), config)
    except IncompatibleLora as exc:
        return str(exc)
    except OSError as exc:
        return f"it cannot be read: {exc.strerror}"
    return None


def _iter_files(folder: Path) -> Iterator[Path]:
    seen = set()
    for visited, (root, folders, files) in enumerate(os.walk(folder, followlinks=True)):
        if visited >= _FOLDERS_MAX:
            return
        place = os.path.realpath(root)
        if place in seen:  # a link to a folder above it, or to one that is listed already
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            if file.lower().endswith(SUFFIX) and not file.startswith("."):
                yield Path(root) / file

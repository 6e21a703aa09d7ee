"""Verifies the SHA-256 checksums of weights files, because damaged weights can still generate images."""

import hashlib
import re
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from app.logs import log
from worker.engines.errors import WeightsError

CHECKSUM_FILE = "SHA256SUMS"  # as `sha256sum */*.safetensors > SHA256SUMS` writes it
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def verify_checksums(*paths: Path) -> None:
    """Verify each file with a known checksum, from SHA256SUMS or the hub's cache. Raises `WeightsError`.

    `paths` are folders and files of weights.
    """
    started = time.monotonic()
    files = size_bytes = 0
    for file, expected in chain.from_iterable(map(_expected_checksums, paths)):
        try:
            actual = _sha256(file)
        except OSError as exc:
            raise WeightsError(
                f"{file}: {exc.strerror}; copy or download the checkpoint again"
            ) from exc
        if actual != expected:
            raise WeightsError(
                f"{file} is damaged: its SHA-256 is {actual} and should be {expected}; "
                "copy or download the checkpoint again"
            )
        files += 1
        size_bytes += file.stat().st_size
    seconds = round(time.monotonic() - started, 1)
    log.info("weights_verified", files=files, mb=round(size_bytes / 1e6), seconds=seconds)


def write_checksums(weights: Path) -> None:
    """Write SHA256SUMS for all safetensors files of a weights folder."""
    lines = [
        f"{_sha256(file)}  {file.relative_to(weights).as_posix()}\n"
        for file in sorted(weights.rglob("*.safetensors"))
    ]
    (weights / CHECKSUM_FILE).write_text("".join(lines))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _expected_checksums(path: Path) -> Iterator[tuple[Path, str]]:
    folder = path if path.is_dir() else path.parent
    try:
        text = (folder / CHECKSUM_FILE).read_text()
    except (OSError, ValueError):
        text = ""
    for line in text.splitlines():
        match = _CHECKSUM_LINE.fullmatch(line)
        if match is None:
            raise WeightsError(
                f"{folder / CHECKSUM_FILE}: {line!r} is not a line of sha256sum; write the file again"
            )
        if path in (folder, folder / match[2]):
            yield folder / match[2], match[1]
    files = [path] if folder != path else sorted(folder.rglob("*.safetensors"))
    for file in files:
        # The hub's cache stores each large file as blobs/<SHA-256>, and links to it.
        blob = file.resolve()
        if file.is_symlink() and blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
            yield file, blob.name

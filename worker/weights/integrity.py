"""Whether weights are still, byte for byte, what was published; a flipped bit draws noise, or a little less well."""

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from app.logs import log
from worker.engines.errors import WeightsError

SUMS = "SHA256SUMS"  # as `sha256sum */*.safetensors > SHA256SUMS` writes it
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_BLOB = re.compile(r"[0-9a-f]{64}")


def verify(weights: Path) -> None:
    """Compare each file whose SHA-256 is known: by SHA256SUMS, or by its name in the hub's cache. Raises WeightsError."""
    started = time.monotonic()
    files = size_bytes = 0
    for file, known in _known(weights):
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as exc:
            raise WeightsError(f"{file}: {exc.strerror}; copy the checkpoint again, whole") from exc
        if found != known:
            raise WeightsError(
                f"{file} is damaged: its SHA-256 is {found} and should be {known}; "
                "copy or download the checkpoint again"
            )
        files += 1
        size_bytes += file.stat().st_size
    seconds = round(time.monotonic() - started, 1)
    log.info("weights_verified", files=files, mb=round(size_bytes / 1e6), seconds=seconds)


def write_sums(weights: Path) -> None:
    """Write SHA256SUMS of the weights beside them."""
    lines = []
    for file in sorted(weights.rglob("*.safetensors")):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(weights).as_posix()}\n")
    (weights / SUMS).write_text("".join(lines))


def _known(weights: Path) -> Iterator[tuple[Path, str]]:
    try:
        listed = (weights / SUMS).read_text()
    except (OSError, ValueError):
        listed = ""
    for line in listed.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise WeightsError(f"{weights / SUMS}: {line!r} is not a line of sha256sum")
        yield weights / found[2], found[1]
    for file in sorted(weights.rglob("*.safetensors")):
        # the cache keeps each large file as blobs/SHA-256, and links to it
        blob = file.resolve()
        if file.is_symlink() and blob.parent.name == "blobs" and _BLOB.fullmatch(blob.name):
            yield file, blob.name

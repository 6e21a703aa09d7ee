"""Tests of the checksums that detect changed weights."""

import hashlib
from pathlib import Path

import pytest

from worker.engines import WeightsError
from worker.weights.integrity import CHECKSUM_FILE, verify_checksums, write_checksums

DATA = bytes(range(256)) * 64


def _folder_with_sums(folder: Path) -> Path:
    file = folder / "vae" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(DATA)
    write_checksums(folder)
    return folder


def _hub_snapshot(folder: Path) -> Path:
    blob = folder / "blobs" / hashlib.sha256(DATA).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(DATA)
    file = folder / "snapshots" / "main" / "vae" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.symlink_to(blob)
    return folder / "snapshots" / "main"


def _flip_a_byte(weights: Path) -> Path:
    file = weights / "vae" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("make", [_folder_with_sums, _hub_snapshot])
def test_damaged_weights_are_refused(tmp_path, make):
    """Unchanged weights pass, and a changed file is refused with its name and what to do."""
    weights = make(tmp_path)
    verify_checksums(weights)
    file = _flip_a_byte(weights)

    with pytest.raises(WeightsError, match=f"{file} is damaged.*again"):
        verify_checksums(weights)


def test_weights_without_checksums_pass(tmp_path):
    """Weights without checksums pass."""
    weights = _folder_with_sums(tmp_path)
    (weights / CHECKSUM_FILE).unlink()
    _flip_a_byte(weights)

    verify_checksums(weights)


def test_missing_listed_file_is_refused(tmp_path):
    """A file that SHA256SUMS lists and the folder lacks is an error that names it."""
    weights = _folder_with_sums(tmp_path)
    (weights / "vae" / "model.safetensors").unlink()

    with pytest.raises(WeightsError, match=r"vae/model\.safetensors: No such file"):
        verify_checksums(weights)


def test_invalid_checksum_line_is_refused(tmp_path):
    """A line in another form than that of sha256sum is refused."""
    (tmp_path / CHECKSUM_FILE).write_text("MD5 (x) = 0\n")

    with pytest.raises(WeightsError, match="not a line of sha256sum"):
        verify_checksums(tmp_path)

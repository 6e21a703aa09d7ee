"""Fetched LoRAs on the machine of a worker, with each kind of storage."""

import pytest

from app.storage.errors import FileMissing
from app.storage.local import LocalStorage
from worker.job.lora_files import LoraFiles


class RemoteStorage(LocalStorage):
    """A storage whose files are elsewhere."""

    origin = "https://s3.example.com"  # type: ignore[assignment]  # None for a folder


def key(name: str, file: str = "lora.safetensors") -> str:
    return f"loras/{name}/{file}"


def test_local_storage_is_read_in_place(tmp_path):
    """A file of a storage on this machine is not copied."""
    storage = LocalStorage(tmp_path / "storage")
    storage.put(key("a"), b"numbers")
    files = LoraFiles(storage, tmp_path / "copies", 100)

    assert files.find(key("a")).read_bytes() == b"numbers"
    assert not (tmp_path / "copies").exists()


def test_remote_files_are_copied_within_limit(tmp_path):
    """A file of a remote storage is copied with its configuration, and the copies used longest ago are deleted."""
    storage = RemoteStorage(tmp_path / "storage")
    for name in "abc":
        storage.put(key(name, "adapter_model.safetensors"), b"0123456789")
        storage.put(key(name, "adapter_config.json"), b"{}")
    files = LoraFiles(storage, tmp_path / "copies", 25)
    found = {name: files.find(key(name, "adapter_model.safetensors")) for name in "abc"}

    assert found["c"].read_bytes() == b"0123456789"
    assert found["c"].with_name("adapter_config.json").read_bytes() == b"{}"
    assert not found["a"].exists()
    assert files.find(key("a", "adapter_model.safetensors")).exists()


def test_deleted_file_is_missing(tmp_path):
    """A file that the storage no longer has is missing, in both kinds of storage."""
    for kind in (LocalStorage, RemoteStorage):
        with pytest.raises(FileMissing):
            LoraFiles(kind(tmp_path / "storage"), tmp_path / "copies", 100).find(key("a"))

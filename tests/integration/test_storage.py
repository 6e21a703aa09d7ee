"""The contract of every storage: files are stored whole or not at all, and no name leaves the storage."""

import errno
import io
import os
import threading
from pathlib import Path

import httpx
import pytest

from app.storage import open_storage
from app.storage.errors import FileMissing, StorageError
from app.storage.local import LocalStorage
from app.storage.time_limit import TimeLimitedStorage
from tests.support import processes

BAD_KEYS = [
    "",
    "/",
    "..",
    ".",
    "../x",
    "p/../../x",
    "p/..",
    "p//x",
    "/etc/passwd",
    "p/",
    "p/.hidden",
    "p/a\0.png",
    "p/a\n.png",
    "p/a\\b",
    "p/%2e%2e/x",
    "p/ä.png",
    "p/\ud800",
    "C:x",
    "~/x",
    "-rf",
]


@pytest.fixture(params=["file", "file with time limit", "s3"])
def storage(request, tmp_path, monkeypatch):
    if request.param != "s3":
        local = open_storage(f"file://{tmp_path}/with%20space/outputs")
        return local if request.param == "file" else TimeLimitedStorage(local)
    for name, value in request.getfixturevalue("s3_server").environ.items():
        monkeypatch.setenv(name, value)
    return open_storage(f"s3://klein/{tmp_path.name}/with%20space")


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_put_and_get_round_trip(storage):
    """A file is read back byte for byte, an empty one too, and a second put replaces the first."""
    for data in (b"", b"\0" * 100_000, b"second"):
        storage.put("p/a/0.png", data)
        assert storage.get("p/a/0.png") == data


def test_missing_file_raises(storage):
    """Reading and locating a missing file, a folder or a path below a file raise FileMissing."""
    storage.put("p/a/0.png", b"x")
    for key in ("q", "p/a/1.png"):
        with pytest.raises(FileMissing):
            storage.get(key)
    for key in ("q", "p/a/1.png", "p/a", "p/a/0.png/x"):
        with pytest.raises(FileMissing):
            storage.locate(key)


def test_delete_removes_prefix(storage):
    """Deleting a prefix deletes all its files and no others, and can be repeated."""
    for key in ("p/in-0.png", "p/a/0.png", "pp/0.png"):
        storage.put(key, b"x")
    for _ in range(2):
        storage.delete("p")

    for key in ("p/in-0.png", "p/a/0.png"):
        with pytest.raises(FileMissing):
            storage.get(key)
    assert storage.get("pp/0.png") == b"x"


@pytest.mark.parametrize("key", BAD_KEYS)
def test_path_traversal_is_refused(storage, key):
    """A key with a step up, an empty part, a control character or a leading dot is neither read nor written."""
    for act in (
        lambda: storage.get(key),
        lambda: storage.locate(key),
        lambda: storage.put(key, b"x"),
        lambda: storage.delete(key),
    ):
        with pytest.raises(FileMissing):
            act()


def test_file_is_located(storage):
    """A file is located by its local path, or by a URL that anybody can read."""
    storage.put("p/0.png", b"x")
    place = storage.locate("p/0.png")

    if isinstance(place, Path):
        assert place.read_bytes() == b"x"
    else:
        assert httpx.get(place, trust_env=False).content == b"x"


def test_large_file_is_stored_in_parts(storage):
    """A multipart file, from memory or from an open file, is read back byte for byte, or up to a limit."""
    data = os.urandom(12_000_000)
    storage.put("p/a.png", data)
    storage.put("p/b.png", io.BytesIO(data))

    assert storage.get("p/a.png") == data
    assert storage.get("p/b.png") == data
    assert storage.get("p/b.png", 2_000_001) == data[:2_000_001]


def test_folder_that_leads_nowhere_is_an_error(tmp_path):
    """A file below a link to a folder that is gone, such as a disk that is not mounted, is an error of the storage."""
    (tmp_path / "p").symlink_to(tmp_path / "gone")

    with pytest.raises(StorageError):
        LocalStorage(tmp_path).put("p/a/0.png", b"x")


def test_symbolic_link_is_refused(tmp_path):
    """A symbolic link to a place outside is not followed by read, write, locate or delete."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    storage = LocalStorage(root)
    for act in (
        lambda: storage.get("out/secret"),
        lambda: storage.get("file"),
        lambda: storage.locate("file"),
        lambda: storage.put("out/new", b"x"),
        lambda: storage.delete("out"),
    ):
        with pytest.raises(FileMissing):
            act()

    assert names_in(outside) == ["secret"]


def test_put_replaces_atomically(tmp_path):
    """A reader during many replacements of a file sees one version or the other."""
    storage = LocalStorage(tmp_path)
    versions = {bytes([k]) * 200_000 for k in range(2)}
    storage.put("p/0.png", min(versions))
    done = threading.Event()

    def replace():
        for _ in range(15):
            for data in versions:
                storage.put("p/0.png", data)
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set():
        assert storage.get("p/0.png") in versions
    thread.join()

    assert names_in(tmp_path / "p") == ["0.png"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB. Needs root."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or processes.run(mount).returncode:
        pytest.skip("no permission to mount a small file system here")
    yield folder
    processes.run(["umount", str(folder)], check=True)


def test_full_disk_leaves_no_partial_file(tiny_disk):
    """A file that does not fit is a StorageError that says so, and leaves no file. A smaller file works afterwards."""
    storage = LocalStorage(tiny_disk)
    storage.put("p/0.png", b"old")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        storage.put("p/0.png", b"x" * 200_000)

    assert storage.get("p/0.png") == b"old"
    assert names_in(tiny_disk / "p") == ["0.png"]
    storage.put("p/1.png", b"x" * 1000)


def test_disk_errors_are_storage_errors(tmp_path):
    """A name that is too long and a file in place of a folder are StorageErrors, and leave no partial file."""
    storage = LocalStorage(tmp_path)
    storage.put("p", b"x")
    for act in (
        lambda: storage.put("p/0.png", b"x"),
        lambda: storage.put("q" * 300, b"x"),
        lambda: storage.get("p/0.png"),
        lambda: storage.get("q" * 300),
        lambda: storage.delete("p"),
    ):
        with pytest.raises(StorageError):
            act()

    assert names_in(tmp_path) == ["p"]


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "s3://key:secret@bucket", "outputs", "", "http://x/y"]
)
def test_unknown_storage_scheme_is_refused(url):
    """The error names the setting and its possible values."""
    with pytest.raises(ValueError, match=r"STORAGE_URL: .*file:///folder"):
        open_storage(url)

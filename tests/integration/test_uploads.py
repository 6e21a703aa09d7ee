"""Uploads on a real Redis and real files: their owner, their retention, and that no file is left behind."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from app.storage.errors import FileMissing, StorageError
from app.storage.local import LocalStorage
from app.uploads import EXPIRY, AlreadySent, UnknownUpload, Uploads
from tests.support.fakes import FailingStorage, make_due

DAY = timedelta(days=1)


@pytest.fixture
def storage(tmp_path):
    return FailingStorage(LocalStorage(tmp_path), failures=0)


@pytest.fixture
def uploads(connection, storage):
    return Uploads(connection, storage)


def store_upload(uploads, data=b"data", retention=DAY):
    upload = uploads.open("key", "image/png", retention)
    uploads.store(upload, io.BytesIO(data))
    return upload


def is_there(storage, upload):
    try:
        return storage.get(upload.key) is not None
    except FileMissing:
        return False


def test_upload_is_stored(uploads, storage):
    """A file larger than one buffer is stored byte for byte."""
    data = bytes(range(256)) * 10_000

    assert storage.get(store_upload(uploads, data).key) == data


@pytest.mark.parametrize(
    ("requested", "retention"),
    [
        (timedelta(0), timedelta(minutes=1)),
        (DAY, DAY),
        (timedelta(days=10_000), timedelta(days=365)),
    ],
)
def test_retention_is_bounded(uploads, requested, retention):
    """The retention is at least a minute and at most a year."""
    upload = uploads.open("key", "image/png", requested)

    assert upload.expires_at - upload.opened_at == retention
    assert abs(upload.opened_at - datetime.now(UTC)) < DAY


def test_only_owner_deletes_file(uploads, storage):
    """Another key's DELETE changes nothing. The owner's deletes the file, and can be repeated."""
    upload = store_upload(uploads)
    uploads.delete("stranger", upload.id)
    assert is_there(storage, upload)

    for _ in range(2):
        uploads.delete("key", upload.id)

    assert not is_there(storage, upload)
    with pytest.raises(UnknownUpload):
        uploads.get(upload.id)


def test_file_is_immutable(uploads, storage):
    """The same file can be sent again. A different one is refused, and the first stays as it is."""
    upload = store_upload(uploads, b"first")
    again = uploads.store(upload, io.BytesIO(b"first"))
    with pytest.raises(AlreadySent):
        uploads.store(upload, io.BytesIO(b"other"))

    assert again == uploads.get(upload.id)
    assert storage.get(upload.key) == b"first"


def test_concurrent_uploads_store_one_file(redis_server, uploads, storage):
    """Of twenty different files sent at once one is stored, and the record describes it."""
    upload, start = uploads.open("key", "image/png", DAY), Barrier(20)

    def send(number):
        with redis_server.connect() as own_connection:
            start.wait()
            try:
                return (
                    Uploads(own_connection, storage)
                    .store(upload, io.BytesIO(b"%d" % number))
                    .sha256
                )
            except AlreadySent:
                return None

    with ThreadPoolExecutor(20) as threads:
        [stored_sha256] = [sha256 for sha256 in threads.map(send, range(20)) if sha256]

    assert hashlib.sha256(storage.get(upload.key)).hexdigest() == stored_sha256
    assert uploads.get(upload.id).sha256 == stored_sha256


def test_failed_upload_can_be_sent_again(uploads, storage):
    """After a storage failure the same file can be sent again. Until then the upload is incomplete."""
    upload = uploads.open("key", "image/png", DAY)
    storage.failures = 1
    with pytest.raises(StorageError):
        uploads.store(upload, io.BytesIO(b"data"))
    assert uploads.get(upload.id).size_bytes is None
    uploads.store(upload, io.BytesIO(b"data"))

    assert storage.get(upload.key) == b"data"
    assert uploads.owned("key", upload.id).size_bytes == 4


def test_file_sent_during_deletion_is_deleted(uploads, storage):
    """A file that is still being sent during its deletion is not left behind."""
    upload = uploads.open("key", "image/png", DAY)
    uploads.delete("key", upload.id)
    with pytest.raises(UnknownUpload):
        uploads.store(upload, io.BytesIO(b"late"))

    assert not is_there(storage, upload)


def test_uploads_are_listed_with_pagination(uploads):
    """A key's complete uploads are listed, newest first and page by page, to that key only. Deleted ones are not."""
    oldest, deleted, newest = (store_upload(uploads) for _ in range(3))
    uploads.open("key", "image/png", DAY)
    uploads.delete("key", deleted.id)
    now = newest.opened_at

    pages = [uploads.history("key", now, offset, 1) for offset in (0, 1, 2)]
    assert [[u.id for u in page.uploads] for page in pages] == [[newest.id], [oldest.id], []]
    assert {page.total for page in pages} == {2}
    assert uploads.history("stranger", now, 0, 9).uploads == []


def test_expired_uploads_are_deleted(uploads, storage, connection):
    """An expired upload is deleted, also one that was never sent. The others stay."""
    old, retained = store_upload(uploads), store_upload(uploads)
    unsent = uploads.open("key", "image/png", DAY)
    for upload in (old, unsent):
        make_due(connection, upload.id, EXPIRY)

    assert [uploads.expire(), uploads.expire()] == [2, 0]
    assert [is_there(storage, upload) for upload in (old, retained)] == [False, True]
    assert connection.zrange(EXPIRY, 0, -1) == [retained.id.encode()]


def test_failed_deletion_is_retried_later(uploads, storage, connection):
    """A storage failure delays the deletion of one file until the next run."""
    old = [store_upload(uploads) for _ in range(3)]
    for upload in old:
        make_due(connection, upload.id, EXPIRY)
    storage.failures = 1

    assert [uploads.expire(), uploads.expire()] == [2, 0]
    (left,) = connection.zrange(EXPIRY, 0, -1)
    make_due(connection, left.decode(), EXPIRY)
    assert uploads.expire() == 1
    assert [is_there(storage, upload) for upload in old] == [False] * 3

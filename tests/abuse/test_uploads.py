"""A key that opens, sends and stores as many uploads as it can."""

import threading
import time
from http import HTTPStatus

import pytest

from app.upload_quota import MAX_AT_ONCE_PER_KEY
from app.uploads import EXPIRY, URL_LIVES
from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.support.api_client import create, ended, image_file, until

MAX_FILES = 5
FILE = image_file() + bytes(100_000)


@pytest.fixture(scope="module")
def narrow():
    """A system with low quotas."""
    settings = {"KLEIN_KEY_UPLOADS": str(MAX_FILES), "KLEIN_KEY_UPLOAD_BYTES": "250000"}
    with running_parts(**settings) as running:
        yield running


def presign(client):
    return client.post("/v1/upload/presign", json={"content_type": "image/png"})


def delete_all(parts, client):
    """Delete the files of a client, and forget its unsent uploads as if their URLs had ended."""
    with parts.system.connect() as connection:
        for upload_id in connection.zrange(EXPIRY, 0, -1):
            client.delete(f"/v1/files/{upload_id.decode()}").raise_for_status()


def stored_bytes(parts):
    """Return the size of all files in the storage."""
    return sum(path.stat().st_size for path in (parts.system.folder / "outputs").rglob("*.png"))


def test_unsent_uploads_are_bounded_and_forgotten(narrow):
    """A key opens as many uploads as it may. The next one is refused. Each is forgotten when its URL ends."""
    with narrow.client(ATTACKER) as attacker, narrow.client(VICTIM) as victim:
        codes = [presign(attacker).status_code for _ in range(MAX_FILES + 3)]
        assert codes == [200] * MAX_FILES + [429] * 3
        assert f"has {MAX_FILES} uploads" in presign(attacker).text
        assert presign(victim).status_code == HTTPStatus.OK

        with narrow.system.connect() as connection:
            ends = [score for _, score in connection.zrange(EXPIRY, 0, -1, withscores=True)]
            assert len(ends) == MAX_FILES + 1
            assert max(ends) <= time.time() + URL_LIVES.total_seconds()
        delete_all(narrow, attacker)
        assert presign(attacker).status_code == HTTPStatus.OK
        delete_all(narrow, attacker)
        delete_all(narrow, victim)


def test_bytes_of_key_are_bounded(narrow):
    """A file that would exceed the bytes of its key is refused, by either route, and not stored. A deletion frees its bytes."""
    with narrow.client(ATTACKER) as attacker, narrow.client(VICTIM) as victim:

        def put(client):
            return client.put(presign(client).json()["presigned_url"], content=FILE).status_code

        def send_form(client):
            files = {"content": ("a.png", FILE, "image/png")}
            return client.post("/v1/files", files=files).status_code

        assert [put(attacker), send_form(attacker)] == [200, 201]
        assert [put(attacker), send_form(attacker)] == [429, 429]
        assert stored_bytes(narrow) == 2 * len(FILE)
        assert put(victim) == 200
        delete_all(narrow, attacker)
        assert put(attacker) == 200
        delete_all(narrow, attacker)
        delete_all(narrow, victim)


def test_arriving_files_of_key_are_bounded(narrow):
    """A key sends two files at once and one to an upload. Further ones are refused, and another key's file arrives."""
    released = threading.Event()
    codes = []

    def trickle():
        yield FILE[:1000]
        while not released.wait(0.05):
            yield bytes(1000)

    def put(url, content):
        with narrow.client(None) as client:
            return client.put(url, content=content).status_code

    with narrow.client(ATTACKER) as attacker, narrow.client(VICTIM) as victim:
        urls = [presign(attacker).json()["presigned_url"] for _ in range(3)]
        slow = [
            threading.Thread(target=lambda url=url: codes.append(put(url, trickle())))
            for url in urls[:MAX_AT_ONCE_PER_KEY]
        ]
        slow[0].start()
        until(
            lambda: put(urls[0], b"no image") == 429
        )  # before that, its first byte has not arrived
        slow[1].start()
        until(lambda: put(urls[2], b"no image") == 429)
        victim_code = put(presign(victim).json()["presigned_url"], FILE)
        released.set()
        for thread in slow:
            thread.join()

    assert victim_code == 200
    assert len(codes) == MAX_AT_ONCE_PER_KEY


def test_low_disk_refuses_uploads_alone():
    """With less free space than the reserve, uploads are a 503. A prediction still gets its image."""
    settings = {"KLEIN_DISK_RESERVE_BYTES": str(2**60)}
    with running_parts(**settings) as full, full.client(ATTACKER) as client:
        refused = presign(client)
        form = client.post("/v1/files", files={"content": ("a.png", FILE, "image/png")})
        prediction_id = create(client)
        status = until(lambda: ended(client, prediction_id))

    assert (refused.status_code, form.status_code) == (503, 503)
    assert "too little space for uploads" in refused.text
    assert status == "success"

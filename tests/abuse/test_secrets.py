"""What another user of the machine, or somebody who guesses, can get."""

import stat
import sys
import tempfile
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from tests.abuse.parts import ATTACKER
from tests.chaos.system import running_system
from tests.support import processes
from tests.support.api_client import image_file, run, until
from tests.support.klein_server import Klein


@pytest.fixture
def short_path():
    """A folder in which a socket may lie."""
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        yield Path(folder)


def test_files_are_private(short_path):
    """No other user of the machine may open what `klein up` has written, whatever its folder was before."""
    short_path.chmod(0o755)
    with Klein(short_path) as klein, klein.client() as client:
        klein.launch()
        until(lambda: is_alive(client), 120)
        put = client.post("/v1/upload/presign", json={"content_type": "image/png"}).json()
        client.put(put["presigned_url"], content=image_file()).raise_for_status()
    everything = [short_path, *short_path.rglob("*")]
    open_to_others = [
        path
        for path in everything
        if not path.is_socket() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]

    assert any(path.suffix == ".png" for path in everything)
    assert any(path.suffix == ".aof" for path in everything)
    assert open_to_others == []


def is_alive(client):
    """Return whether the api answers."""
    with suppress(httpx.TransportError):
        return client.get("/livez").status_code == HTTPStatus.OK
    return False


@pytest.mark.parametrize("command", ["api", "up"])
def test_weak_key_is_refused(command, tmp_path):
    """A server does not start with a key that can be guessed. It names the place of the key, not the key."""
    with running_system(0, [ATTACKER]) as system:
        settings = {"KLEIN_API_KEYS": f"{ATTACKER},letmein", "KLEIN_DATA": str(tmp_path)}
        result = processes.run(
            [sys.executable, "-m", "app.cli", command], env=system.environ | settings
        )

    assert result.returncode != 0
    assert "key 2 has 7 characters" in result.stderr
    assert "letmein" not in result.stderr + result.stdout


def test_signature_is_of_text(parts):
    """The time in a signed URL cannot be spelt in another way."""
    with parts.client(ATTACKER) as client:
        url = run(client)["output"]
        assert client.get(url).status_code == HTTPStatus.OK
        assert client.get(url.replace("expires=", "expires=0")).status_code == HTTPStatus.NOT_FOUND

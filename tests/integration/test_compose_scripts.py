"""The scripts that docker-compose.yml needs: deploy/setup.sh, and those of Valkey, run with the server of `klein up`."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from app.embedded import server_binary
from tests.support import processes
from tests.support.fakes import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORDS = {"klein-api": "a" * 64, "klein-worker": "b" * 64}


def set_up(folder: Path) -> str:
    """Run a copy of deploy/setup.sh and return its output."""
    (folder / "deploy").mkdir(exist_ok=True)
    for name in ("setup.sh", "env.example"):
        shutil.copy(DEPLOY / name, folder / "deploy")
    return processes.run(["deploy/setup.sh"], cwd=folder, check=True).stdout


def test_setup_writes_fresh_secrets_once(tmp_path: Path) -> None:
    """deploy/setup.sh writes different secrets, readable by their owner alone, and keeps files that exist."""
    output = set_up(tmp_path)
    written = (tmp_path / ".env").read_text()
    secrets = re.findall(r"=([0-9a-f]{64})$", written, re.MULTILINE)
    key = re.findall(r"^KLEIN_API_KEYS=(.+)$", written, re.MULTILINE)[0]

    assert len(set(secrets)) == 4
    assert key in output
    assert {(tmp_path / n).stat().st_mode & 0o777 for n in (".env", "deploy/env")} == {0o600}
    assert set_up(tmp_path).splitlines() == [
        "kept .env. Your API keys are in its line KLEIN_API_KEYS",
        "kept deploy/env",
    ]
    assert (tmp_path / ".env").read_text() == written


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """The environment of the container, with a folder of its own for temporary files."""
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        yield {
            "PATH": f"{Path(server_binary()).parent}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": folder,
            "REDIS_API_PASSWORD": PASSWORDS["klein-api"],
            "REDIS_WORKER_PASSWORD": PASSWORDS["klein-worker"],
        }


def test_valkey_starts_with_the_users_of_klein(environ: dict[str, str]) -> None:
    """Each user has the password of its variable, nobody connects without one, and cli.sh is an administrator."""
    folder = Path(environ["TMPDIR"])
    socket = folder / "redis.sock"
    command = ["sh", str(DEPLOY / "redis" / "start.sh"), "--port", "0", "--dir", str(folder)]
    cli = ["sh", str(DEPLOY / "redis" / "cli.sh"), "-s", str(socket)]
    with processes.started(
        [*command, "--unixsocket", str(socket)], env=environ, stdout=subprocess.DEVNULL
    ) as process:
        eventually(socket.exists)
        for user, password in PASSWORDS.items():
            with redis.Redis.from_url(f"unix://{user}:{password}@{socket}") as connection:
                assert connection.ping()
        with (
            redis.Redis.from_url(f"unix://{socket}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        settings = [
            processes.run([*cli, "CONFIG", "GET", name], env=environ, check=True).stdout.split()[1]
            for name in ("appendonly", "appendfsync", "maxmemory-policy")
        ]
        process_folder = Path(f"/proc/{process.pid}")
        arguments = (process_folder / "cmdline").read_text()
        modes = {(folder / name).stat().st_mode & 0o777 for name in ("admin", "users.acl")}

    assert settings == ["yes", "always", "noeviction"]
    assert "valkey-server" in arguments
    assert [password for password in PASSWORDS.values() if password in arguments] == []
    assert modes == {0o600}


def test_transactions_survive_a_death_of_valkey(environ: dict[str, str]) -> None:
    """After `kill -9` and a restart the server has what a transaction wrote, although the default user is off."""
    folder = Path(environ["TMPDIR"])
    socket = folder / "redis.sock"
    command = ["sh", str(DEPLOY / "redis" / "start.sh"), "--port", "0", "--dir", str(folder)]
    options = {"env": environ, "stdout": subprocess.DEVNULL}
    command += ["--unixsocket", str(socket)]
    url = f"unix://klein-worker:{PASSWORDS['klein-worker']}@{socket}"
    loading = Retry(ConstantBackoff(0.1), 100, (redis.BusyLoadingError,))
    with redis.Redis.from_url(url, decode_responses=True, retry=loading) as connection:
        with processes.started(command, **options):
            eventually(socket.exists)
            with connection.pipeline(transaction=True) as transaction:
                transaction.set("klein:a", "1").set("klein:b", "2").execute()
        socket.unlink()
        with processes.started(command, **options):
            eventually(socket.exists)
            values = connection.mget("klein:a", "klein:b")

    assert values == ["1", "2"]


def test_valkey_does_not_start_without_passwords(environ: dict[str, str]) -> None:
    """Without a password the script ends with an error that names the variable."""
    del environ["REDIS_WORKER_PASSWORD"]

    result = processes.run(["sh", str(DEPLOY / "redis" / "start.sh")], env=environ)

    assert result.returncode != 0
    assert "REDIS_WORKER_PASSWORD: is not set" in result.stderr

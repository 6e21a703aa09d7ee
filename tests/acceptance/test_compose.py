"""docker-compose.yml as shipped, with docker or podman: a prediction survives the death of each container.

The images must be built (`docker compose --profile cpu build`). If containers run only below another command, name that
command in KLEIN_TEST_CONTAINERS.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import free_port
from tests.support import processes
from tests.support.api_client import LONG, create, ended, fetch, is_ready, is_running, run, until

ROOT = Path(__file__).parents[2]
PARTS = ["valkey", "api", "courier", "worker-cpu"]
S3_IMAGE = "chrislusf/seaweedfs:4.48"
COMPOSES = {"docker": ["docker", "compose"], "podman": ["podman-compose"]}
IMAGES = ["klein-api", "klein-worker-cpu", "valkey/valkey:8.1"]
BACK_S = 120  # a killed worker loads its model again
WRAPPER = "KLEIN_TEST_CONTAINERS"

pytestmark = pytest.mark.timeout(600)


def output_of(*command: str, **environ: str) -> str:
    """Run a command and return its output. Raises CalledProcessError."""
    return processes.run(command, check=True, env=os.environ | environ, timeout_s=300).stdout


class Compose:
    """The project in a folder of its own, with the shipped files and what deploy/setup.sh writes."""

    def __init__(self, engine: str, folder: Path, parts: list[str]) -> None:
        self._engine = engine
        self._parts = parts
        self._project = f"klein{os.getpid()}-{len(parts)}"
        self._file = str(folder / "docker-compose.yml")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environ = {
            "KLEIN_LISTEN": f"127.0.0.1:{port}",
            "S3_LISTEN": f"127.0.0.1:{free_port()}",
        }
        shutil.copy(ROOT / "docker-compose.yml", folder)
        shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("env"))
        output_of("sh", str(folder / "deploy" / "setup.sh"))
        secrets = (folder / ".env").read_text()
        self._key = re.findall(r"^KLEIN_API_KEYS=(.+)$", secrets, re.MULTILINE)[0]
        settings = (folder / "deploy" / "env").read_text()
        filled = {"http://127.0.0.1:8000": self.url}
        if "s3" in parts:
            filled |= {
                "# STORAGE_URL=": "STORAGE_URL=",
                "# AWS_ENDPOINT_URL=": "AWS_ENDPOINT_URL=",
                "# AWS_ACCESS_KEY_ID=": "AWS_ACCESS_KEY_ID=",
                "# AWS_SECRET_ACCESS_KEY=\n": "AWS_SECRET_ACCESS_KEY=a-secret-key\n",
            }
        for empty, full in filled.items():
            assert empty in settings
            settings = settings.replace(empty, full)
        (folder / "deploy" / "env").write_text(settings)

    def up(self) -> None:
        self._run_command("up", "-d", *self._parts)

    def down(self, *options: str) -> None:
        self._run_command("down", *options)

    def inspect(self, part: str, what: str) -> str:
        return output_of(self._engine, "inspect", "--format", what, self._container(part)).strip()

    def is_healthy(self, part: str) -> bool:
        """Run a container's own healthcheck in it, as the engine does."""
        test = json.loads(self.inspect(part, "{{json .Config.Healthcheck.Test}}"))
        command = test[1:] if test[0] == "CMD" else ["sh", "-c", *test[1:]]
        try:
            self.run_in(part, *command)
        except subprocess.CalledProcessError:
            return False
        return True

    def run_in(self, part: str, *command: str) -> str:
        return output_of(self._engine, "exec", self._container(part), *command)

    def kill(self, part: str) -> None:
        """Kill a container's first process, as the kernel does when memory runs out."""
        os.kill(int(self.inspect(part, "{{.State.Pid}}")), signal.SIGKILL)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"X-API-Key": self._key}, timeout=90, trust_env=False
        )

    def _run_command(self, *arguments: str) -> None:
        output_of(
            *COMPOSES[self._engine],
            "-f",
            self._file,
            "-p",
            self._project,
            *arguments,
            **self._environ,
        )

    def _container(self, part: str) -> str:
        """Find a container by its labels, because the engines build names differently."""
        labels = {"project": self._project, "service": part}
        filters = [f"--filter=label=com.docker.compose.{k}={v}" for k, v in labels.items()]
        return output_of(self._engine, "ps", "-aq", *filters).strip()


def why_not(engine: str) -> str | None:
    """Return why an engine cannot run the images, or None."""
    try:
        output_of(*COMPOSES[engine], "version")
        output_of(engine, "image", "inspect", *IMAGES)
        output_of(engine, "run", "--rm", "--network=none", "--entrypoint=true", "klein-api")
    except FileNotFoundError as exc:
        return f"{exc.filename} is not installed"
    except subprocess.CalledProcessError as exc:
        return f"{shlex.join(exc.cmd)}: {exc.stderr.strip().splitlines()[-1]}"
    return None


def find_engine() -> str:
    """Find an engine that has the images and runs them. Skips if there is none."""
    if os.environ.get(WRAPPER):
        pytest.skip(f"run below the command that {WRAPPER} names")
    if os.geteuid() != 0:
        pytest.skip("only root may kill a container's processes")
    reasons = {engine: why_not(engine) for engine in COMPOSES}
    usable = next((engine for engine, reason in reasons.items() if reason is None), None)
    if usable is None:
        pytest.skip(f"no container engine that has the images and runs them here: {reasons}")
    return usable


@contextmanager
def composed(engine: str, folder: Path, parts: list[str]) -> Iterator[Compose]:
    """The project. Everything of it is removed at the end."""
    deployment = Compose(engine, folder, parts)
    try:
        yield deployment
    finally:
        deployment.down("-v")


def up_to_first_image(compose: Compose, client: httpx.Client) -> str:
    began = time.monotonic()
    compose.up()
    until(lambda: is_ready(client), within_s=BACK_S)
    ready_s = time.monotonic() - began
    url = str(run(client)["output"])
    print(f"ready after {ready_s:.1f} s, first image after {time.monotonic() - began:.1f} s")  # noqa: T201 -- the figure of docs/deploying.md
    return url


def survive(compose: Compose, client: httpx.Client, part: str) -> str | None:
    """Kill a container during a run, and return the prediction's end once the system is healthy again."""
    prediction_id = create(client, **LONG)
    until(lambda: is_running(client, prediction_id))
    compose.kill(part)
    status = until(lambda: ended(client, prediction_id), within_s=BACK_S)
    until(lambda: compose.is_healthy(part), within_s=BACK_S)
    until(lambda: is_ready(client), within_s=BACK_S)
    return status


def test_data_survives_container_deaths(tmp_path: Path) -> None:
    """After each container dies during a run the prediction succeeds. After `down` and `up` the first image is the same."""
    with composed(find_engine(), tmp_path, PARTS) as compose, compose.client() as client:
        url = up_to_first_image(compose, client)
        image = fetch(url)
        assert "KLEIN_API_KEYS" in compose.run_in("api", "env")
        assert "KLEIN_API_KEYS" not in compose.run_in("worker-cpu", "env")
        until(lambda: all(compose.is_healthy(part) for part in PARTS), within_s=BACK_S)
        for part in PARTS:
            assert (part, survive(compose, client, part)) == (part, "success")
            assert fetch(url) == image
        compose.down()
        compose.up()
        until(lambda: is_ready(client), within_s=BACK_S)

        assert fetch(url) == image


def test_s3_profile_stores_images_in_s3(tmp_path: Path) -> None:
    """With the profile `s3` no image is stored beside the api. Its death loses no prediction, and `down` loses no image."""
    engine = find_engine()
    try:
        output_of(engine, "image", "inspect", S3_IMAGE)
    except subprocess.CalledProcessError:
        pytest.skip(f"no image {S3_IMAGE}: pull it")
    with composed(engine, tmp_path, [*PARTS, "s3"]) as compose, compose.client() as client:
        url = up_to_first_image(compose, client)
        image = fetch(url)

        assert image.startswith(b"\x89PNG")
        assert ".png" not in compose.run_in("api", "find", "/data", "-type", "f")
        assert survive(compose, client, "s3") == "success"
        assert fetch(url) == image
        compose.down()
        compose.up()
        until(lambda: is_ready(client), within_s=BACK_S)
        assert fetch(url) == image


@pytest.mark.skipif(not os.environ.get(WRAPPER), reason=f"{WRAPPER} is not set")
def test_compose_with_command_prefix() -> None:
    """The same tests, where containers run only below a command specific to this machine."""
    inside = {name: value for name, value in os.environ.items() if name != WRAPPER}
    command = [
        *shlex.split(os.environ[WRAPPER]),
        sys.executable,
        "-m",
        "pytest",
        "-s",
        "-rs",
        __file__,
    ]

    result = processes.run(command, env=inside, cwd=ROOT, stdout=None, stderr=None, timeout_s=580)

    assert result.returncode == 0

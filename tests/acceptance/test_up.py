"""`klein up` itself: start errors, shutdown, persistence, and restarts."""

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import processes
from tests.support.api_client import create, fetch, get, run, until
from tests.support.klein_server import Klein, running_klein
from tests.support.redis_server import running_redis
from worker.weights.integrity import write_checksums

pytestmark = pytest.mark.timeout(120)
INTERRUPTED = 130  # as shells count signals


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for a socket name."""
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        yield Path(folder)


def refusal(klein: Klein) -> str:
    """Start a system that cannot start, and return its one-line error."""
    with klein:
        klein.launch()
        assert klein.ended() != 0
    errors = [line for line in klein.log if line.startswith("Error: ")]
    assert len(errors) == 1, klein.log
    assert "Traceback" not in "\n".join(klein.log)
    return errors[0]


def test_taken_port_is_reported(short_path: Path, tiny_weights: Path) -> None:
    """If the port is taken, one line names it and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = refusal(Klein(short_path, KLEIN_PORT=str(port), KLEIN_WEIGHTS=str(tiny_weights)))

    assert f"127.0.0.1:{port}" in error
    assert "KLEIN_PORT" in error


def test_unreachable_redis_is_reported(short_path: Path) -> None:
    """If REDIS_URL does not answer, one line names it without its password."""
    error = refusal(Klein(short_path, REDIS_URL="redis://user:secret@127.0.0.1:1/0"))

    assert "redis://127.0.0.1:1/0" in error
    assert "secret" not in error


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let a process that is started now heed Ctrl-C. What a shell starts in the background ignores it, and so does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_start(short_path: Path) -> None:
    """Ctrl-C while the start waits for Redis ends it and what it has started, without a stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with Klein(short_path, REDIS_URL=f"redis://127.0.0.1:{port}/0") as klein:
            with heeding_ctrl_c():
                klein.launch()
            with silent.accept()[0] as connection:
                klein.process.send_signal(signal.SIGINT)

                assert klein.ended() == INTERRUPTED
                while connection.recv(1024):
                    pass  # until what was started has ended, too
            assert "Traceback" not in "\n".join(klein.log)


@pytest.mark.parametrize("weights", ["missing", pytest.param("empty", marks=pytest.mark.slow)])
def test_unreadable_weights_are_reported(short_path: Path, weights: str) -> None:
    """If the weights cannot be read, one line names the folder."""
    folder = short_path / weights
    if weights == "empty":
        folder.mkdir()

    assert str(folder) in refusal(Klein(short_path / "data", KLEIN_WEIGHTS=str(folder)))


def test_damaged_weights_are_reported(short_path: Path, tiny_weights: Path) -> None:
    """If a byte of the weights differs from SHA256SUMS, no worker serves them, and one line names the file."""
    weights = Path(shutil.copytree(tiny_weights, short_path / "weights"))
    write_checksums(weights)
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)

    assert f"{file} is damaged" in refusal(Klein(short_path / "data", KLEIN_WEIGHTS=str(weights)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("KLEIN_PORT", "many"),
        ("KLEIN_STATUS_WORDS", "klingon"),
        pytest.param("STORAGE_URL", "ftp://x/y", marks=pytest.mark.slow),
        ("REDIS_URL", "nonsense"),
        ("KLEIN_DATA", "/proc/nothing"),
        pytest.param("KLEIN_C2PA_CERT", "/nowhere/signer.pem", marks=pytest.mark.slow),
        ("KLEIN_SAFETY_CHECKER", "/nowhere/checker"),
    ],
)
def test_invalid_setting_is_reported(short_path: Path, setting: str, value: str) -> None:
    """An invalid setting ends the start with one line that names it or its value."""
    error = refusal(Klein(short_path, **{setting: value}))

    assert setting in error or value in error


def test_unknown_setting_is_reported(short_path: Path) -> None:
    """A variable that resembles a setting but is none is reported with the likely setting."""
    klein = Klein(short_path, KLEIN_RUN_TIMOUT="1h", REDIS_URL="redis://127.0.0.1:1")
    refusal(klein)

    expected = "KLEIN_RUN_TIMOUT is not a setting; did you mean KLEIN_RUN_TIMEOUT?"
    assert f"Warning: {expected}" in klein.log


def test_second_start_on_same_folder_is_refused(klein: Klein) -> None:
    """Two systems cannot share a data folder."""
    assert str(klein.folder) in refusal(Klein(klein.folder))


def test_first_start_creates_key(short_path: Path, tiny_weights: Path) -> None:
    """The first start prints a key once and stores only its hash. Later starts keep key and records."""
    with Klein(short_path, KLEIN_API_KEYS="", KLEIN_WEIGHTS=str(tiny_weights)) as klein:
        klein.start()
        key = str(
            next(match[0] for line in klein.log if (match := re.search(r"klein_\S{20,}", line)))
        )
        assert f"  page {klein.url}/#key={key}" in klein.log
        with klein.client(key) as client:
            first = run(client)
        parts = klein.parts()

        code = klein.stop(signal.SIGTERM)

        assert code == 0
        assert [part for part in parts if part.is_running()] == []
        klein.log.clear()
        klein.start()
        with klein.client(key) as client:
            later = get(client, first["predictionID"])
        code = klein.stop(signal.SIGINT)
        assert (code, later["status"], later["output"]) == (0, "success", first["output"])
        assert key not in "\n".join(klein.log)
        grep = ["grep", "-rlF", key, str(short_path)]
        assert processes.run(grep).stdout == ""


@pytest.mark.slow
def test_shutdown_leaves_work_to_next_start(short_path: Path, tiny_weights: Path) -> None:
    """Ctrl-C during a run ends within seconds with code 0. The next start finishes the work."""
    with Klein(short_path, KLEIN_WEIGHTS=str(tiny_weights)) as klein:
        klein.start()
        with klein.client() as client:
            running = create(client, num_inference_steps=50, image_size="square")
            waiting = create(client)
            until(lambda: get(client, running)["status"] == "processing")
        parts = klein.parts()

        code = klein.stop()

        assert code == 0
        assert [part for part in parts if part.is_running()] == []
        klein.start()
        with klein.client() as client:
            states = [get(client, p, wait=50)["status"] for p in (running, waiting)]
        klein.stop()
        assert states == ["success", "success"]


def test_packages_in_current_folder_are_ignored(short_path: Path, tiny_weights: Path) -> None:
    """`klein up` starts in a folder that has packages named `app` and `worker` of its own."""
    for name in ("app", "worker"):
        package = short_path / name
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('the wrong package')")
    klein = Klein(short_path / "data", KLEIN_WEIGHTS=str(tiny_weights))
    klein.working_directory = short_path

    klein.launch()
    try:
        until(
            lambda: _all_in(klein.log, "api_ready", "courier_ready", "engine_loading"), within_s=60
        )
    finally:
        klein.stop()
    assert "the wrong package" not in "\n".join(klein.log)


def _all_in(log: list[str], *events: str) -> bool:
    return all(any(event in line for line in log) for event in events)


@pytest.fixture(scope="module")
def harmed(tiny_weights: Path) -> Iterator[Klein]:
    """A running system whose processes the tests of this file kill."""
    with running_klein(tiny_weights) as klein:
        yield klein


@pytest.mark.parametrize(
    "name",
    [
        "worker",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("engine", "courier", "api", "redis")
        ),
    ],
)
def test_killed_process_is_restarted(harmed: Klein, name: str) -> None:
    """After kill -9 any process is restarted, and accepted predictions still succeed."""
    with harmed.client() as client:
        running = create(client, num_inference_steps=50, image_size="square")
        waiting = create(client)
        until(lambda: get(client, running)["status"] == "processing")
        victim = until(lambda: harmed.part(name))

        victim.kill()

        until(lambda: harmed.part(name) not in {None, victim})
        until(lambda: _answers(client))
        ended = [get(client, p, wait=60) for p in (running, waiting)]
        assert [shown["status"] for shown in ended] == ["success", "success"]
        assert fetch(ended[0]["output"])
        until(lambda: _is_ready(client))
        assert run(client)["status"] == "success"


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/executions").status_code == 200
    except httpx.TransportError:
        return False


def _is_ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def test_command_reports_missing_requirement(short_path: Path) -> None:
    """A part that lacks something it needs says so in one line and exits."""
    with running_redis() as empty:
        for part, url, expected in [
            ("api", empty.url, "KLEIN_API_KEYS"),
            ("worker", "", "Redis"),
            ("courier", "", "Redis"),
        ]:
            environ = {"KLEIN_DATA": str(short_path), "PATH": "", "REDIS_URL": url}
            command = [sys.executable, "-m", "app.cli", part]
            result = processes.run(command, env=environ)
            assert result.returncode != 0
            assert expected in result.stderr
            assert "Traceback" not in result.stderr


def test_api_that_cannot_listen_is_never_ready(short_path: Path) -> None:
    """An API process logs that it is ready only once it listens. One that cannot says so in one line."""
    with running_redis() as empty, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = os.environ | {
            "KLEIN_API_KEYS": "key-of-more-than-thirty-two-characters",
            "KLEIN_DATA": str(short_path),
            "KLEIN_PORT": str(port),
            "REDIS_URL": empty.url,
        }
        result = processes.run([sys.executable, "-m", "app.cli", "api"], env=environ)

    assert result.returncode == 1
    assert result.stderr == (
        f"Error: klein api: cannot listen on 127.0.0.1:{port} (Address already in use); "
        "set KLEIN_HOST and KLEIN_PORT to a free address\n"
    )


def test_log_of_a_start_is_for_people(klein: Klein) -> None:
    """Without a terminal `klein up` writes text as well, and nothing about the embedded Valkey's own start."""
    start = klein.log[: next(k for k, line in enumerate(klein.log) if "klein is ready" in line)]

    assert _all_in(start, "api_ready", "engine_ready", "courier_ready")
    assert [line for line in start if "{" in line or "redis" in line] == []

"""The commands for users and operators, as processes of their own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support import processes
from tests.support.api_client import LONG, create, get, until
from tests.support.klein_server import Klein
from worker.main import BUILT_IN

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environ(**settings: str) -> dict[str, str]:
    return os.environ | settings


@pytest.fixture
def command(klein: Klein, tmp_path: Path) -> Run:
    """Run `klein` with the settings of the running system, in a folder of its own."""

    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        defaults = {
            "KLEIN_URL": klein.url,
            "KLEIN_API_KEY": klein.key,
            "KLEIN_DATA": str(klein.folder),
        }
        return processes.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=tmp_path,
            env=environ(**defaults | settings),
        )

    return run


def test_predict_and_edit(command: Run, tmp_path: Path) -> None:
    """`klein predict` writes an image and an edit of it, in the format of the file name."""
    ran = command("predict", "a red circle", "--size", "128x64", "--seed", "7", "-o", "circle.png")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"circle\.png   seed 7   \d+\.\d s\n", ran.stdout)
    assert "generating" in ran.stderr
    with Image.open(tmp_path / "circle.png") as image:
        assert (image.size, image.format) == ((128, 64), "PNG")

    ran = command("predict", "make it green", "--image", "circle.png", "-o", "green.jpg", "-n", "2")
    assert ran.returncode == 0, ran.stderr
    with Image.open(tmp_path / "green-2.jpg") as image:
        assert (image.size, image.format) == ((128, 64), "JPEG")


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--url", "http://127.0.0.1:9"], {}, "no server answers at http://127.0.0.1:9; start one"),
        (["--url", "nonsense"], {}, "nonsense: "),
        (["--key", "wrong"], {}, "set KLEIN_API_KEY or --key to a valid key"),
        ([], {"KLEIN_API_KEY": ""}, "no API key; set KLEIN_API_KEY or use --key"),
        (["--size", "300x200"], {}, "the width 300 is not a multiple of 16 and the height 200"),
        (["--size", "64x1024"], {}, "image_size"),
        (["--steps", "99"], {}, "num_inference_steps"),
        (["-o", "picture.gif"], {}, "the name must end in .png, .jpg or .webp"),
        (["-o", "nowhere/picture.png"], {}, "nowhere does not exist"),
        (["--image", "missing.png"], {}, "missing.png: No such file"),
    ],
)
def test_predict_says_what_is_wrong(
    command: Run, tmp_path: Path, arguments, settings, message
) -> None:
    """An error is one line without a traceback, and no file is written."""
    ran = command("predict", "a red circle", *arguments, **settings)

    assert ran.returncode != 0
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_cancels(klein: Klein, client: httpx.Client) -> None:
    """Interrupting the command cancels its prediction."""
    before = {e["id"] for e in client.get("/v1/executions").json()["executions"]}
    arguments = ["predict", "a circle", "--size", "square_hd", "--steps", "50", "-n", "4"]
    with processes.started(
        [sys.executable, "-m", "app.cli", *arguments],
        env=environ(KLEIN_URL=klein.url, KLEIN_API_KEY=klein.key),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # as in a terminal: background processes ignore SIGINT unless reset
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        newest = until(
            lambda: next(
                (
                    e["id"]
                    for e in client.get("/v1/executions").json()["executions"]
                    if e["id"] not in before
                ),
                None,
            )
        )
        until(lambda: get(client, newest)["status"] == "processing")
        running.send_signal(signal.SIGINT)

        assert running.wait(30) != 0
    assert get(client, newest, wait=30)["status"] == "cancelled"


def test_queue(command: Run, klein: Klein, client: httpx.Client, busy: str) -> None:
    """`klein queue` shows waiting and running predictions and the workers."""
    waiting = create(client, **LONG)
    ran = command("queue")
    client.post(f"/v1/prediction/{waiting}/cancel")

    assert ran.returncode == 0, ran.stderr
    assert "waiting   1   distilled   oldest " in ran.stdout
    assert "running   1\n" in ran.stdout
    assert "workers   1\n" in ran.stdout


def test_queue_without_redis(command: Run) -> None:
    """If Redis does not answer, one line says so and what to do."""
    ran = command("queue", REDIS_URL="redis://:secret@127.0.0.1:9")

    assert ran.returncode == 1
    assert ran.stderr.count("Redis does not answer") == 1
    assert "Redis does not answer at redis://127.0.0.1:9: " in ran.stderr
    assert "; start `klein up`, or set REDIS_URL" in ran.stderr
    assert "secret" not in ran.stderr


def test_doctor_of_a_running_system(command: Run, klein: Klein) -> None:
    """`klein doctor` finds no problem in a running system."""
    ran = command("doctor", KLEIN_PORT=klein.url.rpartition(":")[2], KLEIN_API_KEYS="k")

    assert ran.returncode == 0, ran.stdout
    assert "problem" not in ran.stdout
    for text in (
        "redis     Valkey",
        "storage   file://",
        "workers ",
        "klein answers at",
        "complete",
    ):
        assert text in ran.stdout


def test_doctor_of_a_sick_one(command: Run, tmp_path: Path) -> None:
    """`klein doctor` names each problem with its remedy, and the exit code is not 0."""
    weights = tmp_path / "weights"
    shutil.copytree(BUILT_IN, weights)
    cut = next(weights.rglob("*.safetensors"))
    cut.write_bytes(cut.read_bytes()[:-1])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = command(
            "doctor",
            REDIS_URL="redis://127.0.0.1:9",
            STORAGE_URL="file:///proc/nowhere",
            KLEIN_WEIGHTS=str(weights),
            KLEIN_PORT=str(taken.getsockname()[1]),
            KLEIN_API_KEYS="",
        )

    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    for text in (
        "problem  redis     does not answer at redis://127.0.0.1:9",
        "problem  storage   file:///proc/nowhere: ",
        f"problem  weights   {cut} is damaged: it has ",
        "problem  port      cannot listen on 127.0.0.1:",
    ):
        assert text in ran.stdout
    assert ran.stdout.count("→") >= 4


def test_doctor_without_torch(command: Run, tmp_path: Path) -> None:
    """On a host without PyTorch the doctor reports it, and that the api does not need it."""
    hiding = tmp_path / "sitecustomize.py"
    hiding.write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in {'torch', 'worker'} else find(name, *a)\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}{os.pathsep}{Path.cwd()}"
    ran = command("doctor", PYTHONPATH=path, KLEIN_PORT="65431")

    assert "torch     not installed" in ran.stdout
    assert "weights   the package `worker` is not installed" in ran.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("queue",), ("keys", "list")])
def test_commands_start_without_the_web_framework(command: Run, arguments: tuple[str, ...]) -> None:
    """Commands that serve no HTTP do not import FastAPI, which takes a second."""
    ran = command(*arguments, PYTHONPROFILEIMPORTTIME="1")

    assert ran.returncode == 0, ran.stderr
    assert "import time:" in ran.stderr
    assert not re.search(r"\| +(fastapi|starlette|uvicorn)\n", ran.stderr)


def test_the_doctor_names_an_unknown_setting(command: Run) -> None:
    """A variable that resembles a setting but is none is a warning that names the likely setting."""
    ran = command("doctor", KLEIN_RUN_TIMOUT="1h", KLEIN_PORT="65431")

    expected = "KLEIN_RUN_TIMOUT is not a setting; did you mean KLEIN_RUN_TIMEOUT?"
    assert f"warning  settings  {expected}" in ran.stdout


def test_every_command_has_help(command: Run) -> None:
    """`klein --help` describes each command in one line, and each has its own help."""
    help_text = command("--help").stdout
    for name in ("up", "api", "worker", "courier", "predict", "queue", "keys", "doctor"):
        assert f"\n  {name} " in help_text
        assert command(name, "--help").returncode == 0

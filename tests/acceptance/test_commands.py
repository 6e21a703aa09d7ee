"""The commands for users and operators, as processes of their own."""

import json
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
from worker.weights.locate import BUILT_IN

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
    completed = command(
        "predict", "a red circle", "--size", "128x64", "--seed", "7", "-o", "circle.png"
    )
    assert completed.returncode == 0, completed.stderr
    assert re.fullmatch(r"circle\.png   seed 7   \d+\.\d s\n", completed.stdout)
    assert "generating" in completed.stderr
    with Image.open(tmp_path / "circle.png") as image:
        assert (image.size, image.format) == ((128, 64), "PNG")

    completed = command(
        "predict", "make it green", "--image", "circle.png", "-o", "green.jpg", "-n", "2"
    )
    assert completed.returncode == 0, completed.stderr
    with Image.open(tmp_path / "green-2.jpg") as image:
        assert (image.size, image.format) == ((128, 64), "JPEG")


def test_predict_with_mask(command: Run, tmp_path: Path) -> None:
    """`klein predict --mask` redraws the white part of the mask alone."""
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "noise.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(tmp_path / "mask.png")
    options = ("--image", "noise.png", "--mask", "mask.png", "--strength", "0.9", "--steps", "3")
    completed = command("predict", "a blue star", *options, "-o", "star.png")

    assert completed.returncode == 0, completed.stderr
    kept, redrawn = (32, 0, 64, 64), (0, 0, 32, 64)
    with Image.open(tmp_path / "noise.png") as noise, Image.open(tmp_path / "star.png") as star:
        assert star.crop(kept).tobytes() == noise.crop(kept).tobytes()
        assert star.crop(redrawn).tobytes() != noise.crop(redrawn).tobytes()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--url", "http://127.0.0.1:9"], {}, "no server answers at http://127.0.0.1:9; start one"),
        (["--url", "nonsense"], {}, "nonsense is not the URL of a server"),
        (["--key", "wrong"], {}, "set KLEIN_API_KEY or --key to a valid key"),
        ([], {"KLEIN_API_KEY": ""}, "no API key; set KLEIN_API_KEY or use --key"),
        (["--size", "300x200"], {}, "the width 300 is not a multiple of 16 and the height 200"),
        (["--size", "64x1024"], {}, "the nearest size is 64x512"),
        (["--steps", "99"], {}, "num_inference_steps"),
        (["--mask", "mask.png"], {}, "--mask and --strength need the --image that they apply to"),
        (["--image", "data:,", "--mask", "no.png"], {}, "--mask: no.png: No such file"),
        (
            ["--image", "data:,", "--strength", "0"],
            {},
            "'--strength': '0' is not a number above 0, up to 1",
        ),
        (["--lora", "ink.safetensors:0.5"], {}, "this server has no LoRA folder"),
        (["-o", "image.gif"], {}, "the name must end in .png, .jpg or .webp"),
        (["-o", "nowhere/image.png"], {}, "nowhere does not exist"),
        (["--image", "missing.png"], {}, "missing.png: No such file"),
    ],
)
def test_predict_reports_errors(command: Run, tmp_path: Path, arguments, settings, message) -> None:
    """An error is one line without a traceback, and no file is written."""
    completed = command("predict", "a red circle", *arguments, **settings)

    assert completed.returncode != 0
    assert message in completed.stderr
    assert "Traceback" not in completed.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels(klein: Klein, client: httpx.Client, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM cancel the prediction of `klein predict`, and set the exit code of shells."""
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
        running.send_signal(number)

        assert running.wait(30) == 128 + number
    assert get(client, newest, wait=30)["status"] == "cancelled"


def test_wait_get_list_and_cancel(command: Run, tmp_path: Path, client: httpx.Client) -> None:
    """A prediction that nobody waits for is listed, awaited, shown, downloaded and cancelled by its id."""
    prediction_id = command("predict", "a circle", "--size", "64x64", "--no-wait").stdout.strip()
    waited = command("wait", prediction_id, "-o", "waited.png")
    shown = json.loads(command("get", prediction_id, "--json").stdout)
    got = command("get", prediction_id, "-o", "got.png")
    listed = command("list", "--limit", "1", "--status", "success")
    again = command("cancel", prediction_id, "nothing")
    long = create(client, **LONG)
    cancelled = command("cancel", long)
    ended = command("wait", long)

    assert waited.returncode == 0, waited.stderr
    assert (shown["id"], shown["status"]) == (prediction_id, "success")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "got.png").read_bytes() == (tmp_path / "waited.png").read_bytes()
    assert listed.stdout.splitlines()[1].startswith(f"{prediction_id}  success  20")
    assert again.returncode == 1
    assert again.stderr.count("Error: ") == 2
    assert cancelled.stdout == f"cancelled {long}\n"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        3,
        f"Error: prediction {long} was cancelled",
    )


@pytest.mark.parametrize("name", ["png", "jpg"])
def test_like_restores_settings(command: Run, tmp_path: Path, name: str) -> None:
    """A file that says how it was generated is generated again from what it says, to the same bytes."""
    first = command(
        "predict", 'a "red" circle', "--size", "128x64", "--metadata", "full", "-o", f"a.{name}"
    )
    again = command("predict", "--like", f"a.{name}", "--metadata", "full", "-o", f"b.{name}")
    plain = command("predict", "--like", f"a.{name}", "-o", f"c.{name}")
    refused = command("predict", "--like", f"c.{name}")

    assert (first.returncode, again.returncode, plain.returncode) == (0, 0, 0), again.stderr
    assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()
    assert refused.returncode == 2
    assert "does not say how it was generated" in refused.stderr


def test_delete_by_id_and_age(command: Run, klein: Klein) -> None:
    """`klein delete` deletes by id, and everything of a key that is old enough. The usage stays. What is gone is an error."""
    key = {"KLEIN_API_KEY": klein.other_key}
    one, _ = (
        command("predict", "a circle", "--size", "64x64", "--no-wait", **key).stdout.strip()
        for _ in "ab"
    )
    by_id = command("delete", one, **key)
    again = command("delete", one, **key)
    young = command("delete", "--older-than", "1d", "--yes", **key)
    by_age = command("delete", "--older-than", "0s", "--yes", **key)

    rows = json.loads(command("usage", "--all-keys", "--json").stdout)
    table = command("usage", "--csv", **key)

    assert isinstance(rows, list)
    assert table.stdout.startswith("day,key,model,images,megapixels,engine_s,dollars\n")
    assert (by_id.returncode, by_id.stdout) == (0, "deleted 1 prediction\n")
    assert (again.returncode, "Prediction not found" in again.stderr) == (1, True)
    assert young.stdout == "deleted 0 predictions\n"
    assert by_age.returncode == 0
    with klein.client(klein.other_key) as client:
        assert client.get("/v1/history").json()["predictions"] == []


def test_json_quiet_and_numbered_files(command: Run, tmp_path: Path) -> None:
    """With --json stdout is one line of JSON that names the files, and with --quiet stderr is empty."""
    completed = command("predict", "a circle", "--size", "64x64", "-n", "2", "--json", "--quiet")

    assert (completed.returncode, completed.stderr) == (0, "")
    assert json.loads(completed.stdout)["files"] == ["picture-1.png", "picture-2.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["picture-1.png", "picture-2.png"]


def test_queue(command: Run, klein: Klein, client: httpx.Client, busy: str) -> None:
    """`klein queue` shows waiting and running predictions and the workers."""
    waiting = create(client, **LONG)
    completed = command("queue", KLEIN_URL="", KLEIN_API_KEY="")
    by_url = command("queue")
    client.post(f"/v1/prediction/{waiting}/cancel")

    assert completed.returncode == 0, completed.stderr
    assert "waiting   1   distilled   oldest " in completed.stdout
    assert "running   1\n" in completed.stdout
    assert "workers   1\n" in completed.stdout
    assert by_url.stdout.splitlines()[1:] == completed.stdout.splitlines()[1:]


def test_queue_without_redis_reports_error(command: Run) -> None:
    """If Redis does not answer, one line says so and what to do."""
    settings = {"KLEIN_URL": "", "KLEIN_API_KEY": "", "REDIS_URL": "redis://:secret@127.0.0.1:9"}
    completed = command("queue", **settings)

    assert completed.returncode == 4
    assert completed.stderr.count("Redis does not answer") == 1
    assert "Redis does not answer at redis://127.0.0.1:9: " in completed.stderr
    assert "; start `klein up`, or set REDIS_URL" in completed.stderr
    assert "secret" not in completed.stderr


@pytest.mark.slow
def test_doctor_passes_running_system(command: Run, klein: Klein) -> None:
    """`klein doctor` finds no problem in a running system."""
    completed = command("doctor", KLEIN_PORT=klein.url.rpartition(":")[2], KLEIN_API_KEYS=klein.key)

    assert completed.returncode == 0, completed.stdout
    assert "problem" not in completed.stdout
    for text in (
        "redis     Valkey",
        "storage   file://",
        "workers ",
        "klein answers at",
        "complete",
    ):
        assert text in completed.stdout


@pytest.mark.slow
def test_doctor_reports_problems(command: Run, tmp_path: Path) -> None:
    """`klein doctor` names each problem with its remedy, and the exit code is not 0."""
    weights = tmp_path / "weights"
    shutil.copytree(BUILT_IN, weights)
    cut = next(weights.rglob("*.safetensors"))
    cut.write_bytes(cut.read_bytes()[:-1])
    with socket.create_server(("127.0.0.1", 0)) as used_port:
        completed = command(
            "doctor",
            REDIS_URL="redis://127.0.0.1:9",
            STORAGE_URL="file:///proc/nowhere",
            KLEIN_WEIGHTS=str(weights),
            KLEIN_PORT=str(used_port.getsockname()[1]),
            KLEIN_API_KEYS="short",
            KLEIN_LORAS=str(tmp_path / "loras"),
        )

    assert completed.returncode == 1
    assert "Traceback" not in completed.stderr
    for text in (
        "problem  redis     does not answer at redis://127.0.0.1:9",
        "problem  storage   file:///proc/nowhere: ",
        f"problem  weights   {cut} is damaged or cut off: it has ",
        "problem  port      cannot listen on 127.0.0.1:",
        "problem  keys      KLEIN_API_KEYS: key 1 has 5 characters",
        f"problem  loras     KLEIN_LORAS={tmp_path / 'loras'}: no such folder",
    ):
        assert text in completed.stdout
    assert completed.stdout.count("→") >= 4


def test_doctor_without_torch(command: Run, tmp_path: Path) -> None:
    """On a host without PyTorch the doctor reports it, and that the api does not need it."""
    hiding = tmp_path / "sitecustomize.py"
    hiding.write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in {'torch', 'worker'} else find(name, *a)\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}{os.pathsep}{Path.cwd()}"
    completed = command("doctor", PYTHONPATH=path, KLEIN_PORT="65431")

    assert "torch     not installed" in completed.stdout
    assert "weights   the package `worker` is not installed" in completed.stdout


@pytest.mark.parametrize(
    "arguments", [("queue",), pytest.param(("keys", "list"), marks=pytest.mark.slow)]
)
def test_commands_do_not_import_fastapi(command: Run, arguments: tuple[str, ...]) -> None:
    """Commands that serve no HTTP do not import FastAPI, which takes a second."""
    completed = command(*arguments, PYTHONPROFILEIMPORTTIME="1", KLEIN_URL="", KLEIN_API_KEY="")

    assert completed.returncode == 0, completed.stderr
    assert "import time:" in completed.stderr
    assert not re.search(r"\| +(fastapi|starlette|uvicorn)\n", completed.stderr)


@pytest.mark.slow
def test_doctor_warns_of_unknown_setting(command: Run) -> None:
    """A variable that resembles a setting but is none is a warning that names the likely setting."""
    completed = command("doctor", KLEIN_RUN_TIMOUT="1h", KLEIN_PORT="65431")

    expected = "KLEIN_RUN_TIMOUT is not a setting; did you mean KLEIN_RUN_TIMEOUT?"
    assert f"warning  settings  {expected}" in completed.stdout

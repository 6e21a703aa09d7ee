"""The commands in docs/operating.md work as documented."""

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.api_client import LONG, create, fetch, get, run, until
from tests.support.klein_server import Klein

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
pytestmark = pytest.mark.timeout(180)  # each test starts a system of its own, one of them twice
BACKUP, RESTORE = re.findall(r"^```sh\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder() -> Iterator[Path]:
    # a short path: a socket path may have at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        yield Path(folder)


@pytest.fixture
def klein(folder: Path, tiny_weights: Path) -> Iterator[Klein]:
    with Klein(folder / "data", KLEIN_WEIGHTS=str(tiny_weights)) as klein:
        klein.start()
        yield klein


def completed(script: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = processes.run(
        ["bash", "-c", "set -eu -o pipefail\n" + script],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        timeout_s=100,
    )
    assert result.returncode == 0, result.stderr + result.stdout


@pytest.mark.slow
def test_backup_of_running_system_is_restored(klein: Klein, folder: Path) -> None:
    """After a total loss the restored copy has the images at their URLs, and runs the accepted predictions."""
    with klein.client() as client:
        url = run(client)["output"]
        image = fetch(url)
        prediction_id = create(client, **LONG)
        until(lambda: get(client, prediction_id)["status"] == "processing")
        waiting = create(client)
        completed(BACKUP, folder)
        later_id = create(client)

    for part in klein.parts():
        part.kill()
    klein.process.send_signal(signal.SIGKILL)
    klein.ended()
    shutil.rmtree(folder / "data")
    completed(RESTORE, folder)
    klein.start()

    with klein.client() as client:
        client.post(f"/v1/prediction/{prediction_id}/cancel")
        assert until(lambda: get(client, waiting, wait=30)["status"] == "success")
        assert client.get(f"/v1/prediction/{later_id}").status_code == 404
    assert fetch(url) == image


@pytest.mark.slow
def test_second_worker_takes_predictions(klein: Klein) -> None:
    """`klein worker` beside `klein up`, on the same folder, takes predictions too."""
    command = [sys.executable, "-m", "app.cli", "worker"]
    with klein.client() as client, processes.started(command, env=klein.environ) as worker:
        until(lambda: len(client.get("/v1/status").json()["workers"]) == 2, within_s=60)
        worker.terminate()
        assert worker.wait(60) == 0


def test_alert_table_is_complete() -> None:
    """The table has each alert, and no other."""
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()

    assert re.findall(r"^\| `(Klein\w+)`", PAGE, re.MULTILINE) == re.findall(
        r"alert: (\w+)", alerts
    )

"""Workers that shut down, die or hang, as shipped processes with a fake engine."""

import signal
from collections.abc import Iterator
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from app.predictions.worker_registry import WorkerRegistry
from tests.chaos.system import Part, System, one_worker
from tests.support.api_client import create, get, is_ready, ready_client, until

pytestmark = pytest.mark.timeout(120)
SLOW = {"prompt": "slow", "num_inference_steps": 50, "num_images": 4}  # ten seconds


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One worker and everything it needs, restarted when it ends."""
    with one_worker(grace_s=6) as system:
        yield system


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with ready_client(system.url, "a-key-of-more-than-thirty-two-characters") as client:
        yield client


def running(client: httpx.Client, **inputs: Any) -> str:
    """Create a prediction and wait until it runs."""
    prediction_id = create(client, **inputs)
    until(lambda: get(client, prediction_id)["status"] == "processing")
    return prediction_id


def ended(worker: Part, starts: int, within_s: float = 30) -> int:
    """Wait until the worker's process has ended, and return its exit code."""
    before = worker.codes.copy()
    until(lambda: worker.starts > starts, within_s=within_s)
    return next(iter(worker.codes - before), 0)


def is_over(process: psutil.Process) -> bool:
    """Return whether the process has ended. An orphan may still be a zombie."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_shutdown_finishes_prediction(system: System, client: httpx.Client) -> None:
    """On shutdown a worker is not ready at once, finishes its prediction, and exits with 0."""
    worker = system.workers[0]
    starts = worker.starts
    prediction_id = running(client, prompt="slow", num_inference_steps=30)
    worker.signal(signal.SIGTERM)
    until(lambda: not is_ready(client))
    prediction = get(client, prediction_id, wait=60)

    assert ended(worker, starts) == 0
    assert prediction["status"] == "success"
    assert system.record(prediction_id).attempt == 1


@pytest.mark.parametrize(
    "signals", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["no time", "twice"]
)
def test_shutdown_releases_long_prediction(
    system: System, client: httpx.Client, signals: int
) -> None:
    """A run longer than the grace period, or one hurried by a second signal, is released. The next worker runs it, and no attempt is counted."""
    worker = system.workers[0]
    starts = worker.starts
    long = SLOW if signals == 1 else {"prompt": "slow", "num_inference_steps": 40}
    prediction_id = running(client, **long)
    for _ in range(signals):
        worker.signal(signal.SIGTERM)
        until(lambda: any("shutdown_started" in line for line in worker.tail))

    assert ended(worker, starts) == 0
    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


def test_shutdown_of_idle_worker_is_immediate(system: System, client: httpx.Client) -> None:
    """An idle worker that shuts down exits with 0 and is no longer listed. Later predictions still run."""
    worker = system.workers[0]
    starts, pid = worker.starts, worker.process.pid
    worker.signal(signal.SIGTERM)

    assert ended(worker, starts, within_s=14) == 0  # its wait for a token takes up to 15 s
    prediction_id = create(client)
    with system.connect() as connection:
        assert not any(
            f"-{pid}-" in present.name for present in WorkerRegistry(connection).present()
        )
    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


@pytest.mark.parametrize(
    "signals", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["once", "twice"]
)
def test_shutdown_of_loading_worker_is_immediate(
    system: System, client: httpx.Client, signals: int
) -> None:
    """A worker that shuts down while its model loads exits with 0, ends its engine, and was never ready."""
    weights = system.folder / "endless"
    weights.mkdir(exist_ok=True)
    system.add_workers(1, KLEIN_WEIGHTS=str(weights))
    loading = system.workers.pop()
    try:
        until(lambda: any("engine_loading" in line for line in loading.tail))
        engine = until(loading.engine)
        starts = loading.starts
        for _ in range(signals):
            loading.signal(signal.SIGTERM)

        assert ended(loading, starts) == 0
        until(lambda: is_over(engine))
        assert not any("engine_ready" in line for line in loading.tail)
        assert get(client, create(client), wait=60)["status"] == "success"
    finally:
        loading.stop()


def test_prediction_that_kills_engine_fails_after_three_attempts(
    system: System, client: httpx.Client
) -> None:
    """A prediction that kills its engine each time ends after three attempts. Another one succeeds and the worker stays."""
    worker = system.workers[0]
    starts = worker.starts
    poison, neighbour = create(client, prompt="die"), create(client)
    prediction = get(client, poison, wait=60)

    assert prediction["status"] == "error"
    assert prediction["output"]["retryable"] is True
    assert prediction["output"]["error_message"].endswith("in each of 3 attempts")
    assert "last words" not in str(prediction)
    assert any("last words" in line for line in worker.tail)
    assert get(client, neighbour, wait=30)["status"] == "success"
    assert (system.record(poison).attempt, worker.starts) == (3, starts)


def test_hung_engine_is_replaced(system: System, client: httpx.Client) -> None:
    """An engine that does not stop at the run timeout is killed, and the next one generates."""
    body = {
        "model": "flux-2-klein-4b-text-to-image",
        "input": {"prompt": "hang", "image_size": {"width": 64, "height": 64}},
    }
    answer = client.post("/v1/prediction", json=body, headers={"X-Run-Timeout": "1"}).json()
    prediction = get(client, answer["predictionID"], wait=30)

    assert prediction["output"]["classification"] == {"category": "TIMEOUT"}
    assert get(client, create(client), wait=30)["status"] == "success"


def test_worker_with_changed_canary_leaves(system: System, client: httpx.Client) -> None:
    """A worker whose engine no longer generates the image of its start exits with an error that says so. The metrics tell, and a new one serves."""
    flag = system.folder / "drift.flag"
    system.add_workers(1, KLEIN_CANARY_INTERVAL="1")
    watchful = system.workers.pop()
    try:
        until(lambda: any("canary_checked" in line for line in watchful.tail))
        starts = watchful.starts
        flag.touch()
        code = ended(watchful, starts)
        flag.unlink()

        assert code == 1
        assert any(
            "worker_leaves" in line and "no pixel may differ" in line for line in watchful.tail
        )
        until(lambda: 'klein_workers_departed{cause="canary"} 1.0' in client.get("/metrics").text)
        assert get(client, create(client), wait=30)["status"] == "success"
    finally:
        flag.unlink(missing_ok=True)
        watchful.stop()


def test_readiness_tells_age_of_last_image(client: httpx.Client) -> None:
    """`/readyz` and `/v1/status` tell how long ago each worker generated its last image."""
    until(lambda: len(client.get("/readyz").json()["details"]) == 1)
    get(client, create(client), wait=30)

    def ages() -> list[float | None]:
        details = client.get("/readyz").json()["details"]
        workers = client.get("/v1/status").json()["workers"]
        return [one["last_image_s"] for one in (*details, *workers)]

    until(lambda: [age is not None and age < 10 for age in ages()] == [True, True])
    assert client.get("/readyz").json()["details"][0]["state"] == "ready"


def test_crash_loop_ends_worker(system: System, client: httpx.Client) -> None:
    """Two predictions in a row that kill the engine are a crash loop: the worker exits with an error, and a new one serves."""
    worker = system.workers[0]
    starts = worker.starts
    poisons = [create(client, prompt=f"die {k}") for k in range(2)]
    code = ended(worker, starts)

    assert code == 1
    assert any("dies again and again" in line for line in worker.tail)
    assert [get(client, p, wait=60)["status"] for p in poisons] == ["error", "error"]
    assert get(client, create(client), wait=30)["status"] == "success"

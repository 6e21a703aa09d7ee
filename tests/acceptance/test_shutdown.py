"""A worker that is told to stop ends within KLEIN_GRACE, whatever it waits for, as shipped processes with a fake engine."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from app.predictions.worker_registry import WorkerCommand, WorkerRegistry
from tests.chaos.system import Part, System, one_worker
from tests.support.api_client import create, get, ready_client, until

pytestmark = pytest.mark.timeout(120)
GRACE_S = 5
SLACK_S = 10.0  # for a busy machine to end the process


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One worker and everything it needs, restarted when it ends."""
    with one_worker(grace_s=GRACE_S) as system:
        yield system


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with ready_client(system.url, "a-key-of-more-than-thirty-two-characters") as client:
        yield client


@contextmanager
def flagged(system: System, name: str) -> Iterator[None]:
    """Make the storage or the engine of the worker fail, as a file of this name says, while the body runs."""
    flag = system.folder / name
    flag.touch()
    try:
        yield
    finally:
        flag.unlink()


def logged(worker: Part, words: str) -> int:
    """Count the lines of the worker's output with these words."""
    return sum(words in line for line in list(worker.tail))


def stop(worker: Part, within_s: float = GRACE_S) -> None:
    """Send SIGTERM and check that the worker exits with 0 in time."""
    process = worker.process
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    code = process.wait(60)

    assert time.monotonic() - started <= within_s + SLACK_S
    assert code == 0


def kill_engine(worker: Part) -> None:
    """Kill the engine process and wait until the worker has noticed it."""
    engine = worker.engine()
    assert engine is not None
    before = logged(worker, "engine_ready")
    engine.kill()
    until(lambda: logged(worker, "engine_ready") > before)


def test_worker_exits_without_interpreter_clean_up(system: System, client: httpx.Client) -> None:
    """An idle worker that is told to stop exits with 0, without the interpreter's clean-up, which no deadline ends."""
    assert client.get("/readyz").is_success
    worker = system.workers[0]
    starts, ready = worker.starts, logged(worker, "engine_ready")
    stop(worker)
    until(lambda: worker.starts > starts and logged(worker, "engine_ready") > ready)

    assert logged(worker, "interpreter_clean_up") == 0


@pytest.mark.parametrize(
    ("flag", "event"),
    [pytest.param("fails", "store_failed", marks=pytest.mark.slow), ("hangs", "storage_hangs")],
)
def test_storage_fault_does_not_delay_shutdown(
    system: System, client: httpx.Client, flag: str, event: str
) -> None:
    """While the storage fails or hangs, a worker exits in time. Its prediction is generated again and loses no attempt."""
    worker = system.workers[0]
    with flagged(system, flag):
        before = logged(worker, event)
        prediction_id = create(client)
        until(lambda: logged(worker, event) > before)
        stop(worker)

    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


def test_full_backlog_does_not_delay_shutdown(system: System, client: httpx.Client) -> None:
    """While the storage hangs and results wait for the publisher, a worker exits in time, and none loses an attempt."""
    worker = system.workers[0]
    with flagged(system, "hangs"):
        ids = [create(client, num_images=2) for _ in range(12)]  # in no batch
        until(lambda: [get(client, i)["status"] for i in ids].count("processing") > 8)
        stop(worker)

    assert [get(client, i, wait=60)["status"] for i in ids] == ["success"] * len(ids)
    assert {system.record(i).attempt for i in ids} == {1}


def test_shutdown_ends_pause_before_engine_restart(system: System, client: httpx.Client) -> None:
    """A worker that waits to restart its engine exits at once and loads no engine again."""
    worker = system.workers[0]
    kill_engine(worker)
    before = logged(worker, "engine_died")
    create(client, prompt="die")
    until(lambda: logged(worker, "engine_died") >= before + 3)  # the next pause is 7 s
    loaded = logged(worker, "engine_loading")
    stop(worker, within_s=1)

    assert logged(worker, "engine_loading") == loaded


def test_shutdown_does_not_wait_for_engine_restart(system: System, client: httpx.Client) -> None:
    """A worker whose engine is being loaded again exits at once, and the prediction that waits for it loses no attempt."""
    worker = system.workers[0]
    with flagged(system, "endless.flag"):
        loaded = logged(worker, "engine_loading")
        engine = worker.engine()
        assert engine is not None
        engine.kill()
        prediction_id = create(client)
        until(lambda: logged(worker, "engine_loading") > loaded)
        until(lambda: get(client, prediction_id)["status"] == "processing")
        stop(worker, within_s=1)

    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


def fall_asleep(system: System, worker: Part) -> None:
    """Unload the engine of the worker."""
    before = logged(worker, "engine_unloaded")
    with system.connect() as connection:
        registry = WorkerRegistry(connection)
        (entry,) = until(registry.present)
        registry.send(entry.name, WorkerCommand.UNLOAD)
        until(lambda: logged(worker, "engine_unloaded") > before)


def test_worker_that_is_asleep_exits_at_once(system: System, client: httpx.Client) -> None:
    """A worker that is asleep counts as ready, and exits at once."""
    worker = system.workers[0]
    fall_asleep(system, worker)
    assert client.get("/readyz").is_success
    stop(worker, within_s=1)


def test_shutdown_does_not_wait_for_waking_engine(system: System, client: httpx.Client) -> None:
    """A worker whose engine starts after it was asleep exits at once, and the prediction that waits for it loses no attempt."""
    worker = system.workers[0]
    fall_asleep(system, worker)
    with flagged(system, "endless.flag"):
        loaded = logged(worker, "engine_loading")
        prediction_id = create(client)
        until(lambda: logged(worker, "engine_loading") > loaded)
        until(lambda: get(client, prediction_id)["status"] == "processing")
        stop(worker, within_s=1)

    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


@pytest.mark.slow
def test_second_signal_while_publishing_is_no_error(system: System, client: httpx.Client) -> None:
    """A second SIGTERM to a worker that only waits for the storage makes it exit with 0 before its grace period ends."""
    worker = system.workers[0]
    with flagged(system, "hangs"), system.connect() as connection:
        before = logged(worker, "storage_hangs")
        prediction_id = create(client)
        until(lambda: logged(worker, "storage_hangs") > before)
        worker.signal(signal.SIGTERM)
        until(lambda: connection.scard("rq:workers") == 0)  # it takes no more tokens
        stop(worker)

    assert get(client, prediction_id, wait=60)["status"] == "success"
    assert system.record(prediction_id).attempt == 1


@pytest.mark.parametrize(
    "is_busy", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["busy", "idle"]
)
def test_silent_redis_does_not_delay_shutdown(
    system: System, client: httpx.Client, is_busy: bool
) -> None:
    """While Redis does not respond, a worker exits in time. What it ran is left to its lease and runs again."""
    worker = system.workers[0]
    prediction_id = create(client, prompt="slow", num_inference_steps=50, num_images=4)
    if is_busy:
        until(lambda: get(client, prediction_id)["status"] == "processing")
    else:
        assert get(client, prediction_id, wait=60)["status"] == "success"
    redis = psutil.Process(system.redis.process.pid)
    redis.suspend()
    try:
        stop(worker)
    finally:
        redis.resume()

    assert get(client, prediction_id, wait=60)["status"] == "success"

"""The place of a waiting prediction, in real lines, and how long it will probably wait."""

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from app.keys import KeyRing
from app.main import create_app
from app.predictions.accounts import Limits
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.place import Outlook, Place, Places, estimate_start
from app.predictions.queue import Queues, recent_key
from app.predictions.speed import Sample, Speed, work_of
from app.predictions.worker_registry import Worker, WorkerRegistry, WorkerState
from app.settings import Settings
from tests.support.fakes import a_prediction, a_store

KIND = CheckpointKind.DISTILLED


def announce(registry, name="w"):
    registry.announce(
        Worker(name=name, checkpoint=KIND, weights="x", revision="1", seen_at=time.time())
    )


def seconds(number):
    return timedelta(seconds=number)


@pytest.mark.parametrize("seed", range(5))
def test_the_place_is_the_turn(connection, seed):
    """For any lines of any keys, as many predictions are taken before one as its place says."""
    connection.config_set("appendfsync", "no")
    store, queues = a_store(connection), Queues(connection)
    chance = random.Random(seed)
    predictions = {
        p.id: store.add(p)
        for p in (a_prediction(f"{k}", key_id=chance.choice("abcd")) for k in range(25))
    }
    for _ in range(chance.randrange(10)):
        del predictions[queues.take(KIND) or ""]
    places = {i: queues.count_ahead(p) for i, p in predictions.items()}

    taken = [queues.take(KIND) for _ in predictions]
    assert places == {prediction_id: place for place, prediction_id in enumerate(taken)}
    assert {queues.count_ahead(p) for p in predictions.values()} == {None}


def test_the_wait_is_estimated_from_recent_runs(connection):
    """Behind one other, with runs of 4 s and two workers, it waits 3 s. Without a worker nobody knows."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    places = Places(connection, store, queues, registry)
    now = datetime.now(UTC)
    ended = a_prediction("done").claim("w", now - timedelta(seconds=4))
    store.add(ended)
    store.change("done", lambda p, _at: p.succeed("w", (), (), now))
    queues.take(KIND)
    for name in ("first", "second"):
        store.add(a_prediction(name))

    unknown = places.find(store.get("second"))
    assert unknown
    assert unknown.expected_wait is None
    for name in ("w1", "w2"):
        announce(registry, name)
    place = Places(connection, store, queues, WorkerRegistry(connection)).find(store.get("second"))
    assert place
    assert place.ahead == 1
    assert place.expected_wait == timedelta(seconds=3)
    assert places.find(store.get("done")) is None


def test_estimate_knows_the_work_ahead(connection):
    """Behind a prediction of four images one waits four times as long as behind one of a single image."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    announce(registry)
    work = work_of(a_prediction())
    connection.lpush(recent_key(KIND), Sample(work=work, run_s=1.5, engine_s=1.0).encode())
    parameters = a_prediction().parameters
    assert parameters is not None
    store.add(a_prediction("large", parameters=replace(parameters, seeds=(1, 2, 3, 4))))
    store.add(a_prediction("small"))
    store.add(a_prediction("last"))
    places = Places(connection, store, queues, registry)

    # half a typical run for what may be running, and what comes before it
    assert places.find(store.get("small")) == Place(
        ahead=1, expected_wait=seconds(4 + 1 / 2), expected_end=seconds(4.5 + 1.5)
    )
    assert places.find(store.get("last")) == Place(
        ahead=2, expected_wait=seconds(5 + 1 / 2), expected_end=seconds(5.5 + 1.5)
    )
    new = places.find_for_new(a_prediction("new"))
    assert new.ahead == 3
    assert new == places.place_behind(3, a_prediction("new"))


def test_wait_includes_turn_and_start_of_swapped_models(connection):
    """For a model that is asleep in a worker whose loaded model has work, the wait is that work and the start."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    base = a_prediction("base", model="flux-2-klein-4b-base-text-to-image")
    loaded = Worker(
        name="w-distilled",
        checkpoint=KIND,
        weights="x",
        revision="1",
        seen_at=time.time(),
        process="w",
        turn_s=60,
    )
    asleep = replace(
        loaded,
        name="w-base",
        checkpoint=CheckpointKind.BASE,
        state=WorkerState.ASLEEP,
        start_s=30,
    )
    for entry in (loaded, asleep):
        registry.announce(entry)
    for kind, prediction in ((KIND, a_prediction()), (CheckpointKind.BASE, base)):
        sample = Sample(work=work_of(prediction), run_s=2.0, engine_s=2.0)
        connection.lpush(recent_key(kind), sample.encode())
    for name in "abcd":
        store.add(a_prediction(name))
    place = Places(connection, store, queues, registry).find_for_new(base)

    # half of its own time for what may be running, 4 times 2 s of work, and the start
    assert place.expected_wait == seconds(1 + 8 + 30)


def test_idle_worker_is_not_waited_for(connection):
    """Where fewer run than there are workers, the next prediction starts at once. Otherwise it waits for half a typical run."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    announce(registry)
    work = work_of(a_prediction())
    connection.lpush(recent_key(KIND), Sample(work=work, run_s=1.5, engine_s=1.0).encode())
    places = Places(connection, store, queues, registry)

    assert places.place_behind(0, a_prediction(), 0).expected_wait == seconds(0)
    assert places.place_behind(0, a_prediction(), 1).expected_wait == seconds(0.5)
    assert places.place_behind(2, a_prediction(), 0).expected_wait == seconds(2.5)


def test_running_prediction_has_an_expected_end(connection):
    """One that runs has no position, and ends when it has run as long as its like."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    announce(registry)
    work = work_of(a_prediction())
    connection.lpush(recent_key(KIND), Sample(work=work, run_s=30.0, engine_s=1.0).encode())
    store.add(a_prediction())
    running = store.change("p", lambda p, now: p.claim("a", now))
    place = Places(connection, store, queues, registry).find(running)

    assert place
    assert (place.ahead, place.expected_wait) == (None, None)
    assert seconds(0) < place.expected_end <= seconds(30)


def test_create_that_starts_too_late_is_refused(connection, redis_server, tmp_path):
    """With KLEIN_REFUSE_LATE a create that cannot start within its queue timeout is a 429 with the rest as Retry-After."""
    announce(WorkerRegistry(connection))
    body = {"model": "flux-2-klein-4b-text-to-image", "input": {"prompt": "x"}}
    _, key = KeyRing(connection, frozenset()).create("k", None, Limits())
    settings = Settings(redis_url=redis_server.url, data=tmp_path, refuse_late=True, _env_file=None)
    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:
        accepted = client.post("/v1/prediction", json=body)
        work = work_of(a_store(connection).get(accepted.json()["id"]))
        connection.lpush(recent_key(KIND), Sample(work=work, run_s=60.0, engine_s=60.0).encode())

    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:
        late = client.post("/v1/prediction", json=body, headers={"X-Queue-Timeout": "30"})
        patient = client.post("/v1/prediction", json=body, headers={"X-Queue-Timeout": "200"})
        unlimited = client.post("/v1/prediction", json=body)

    assert (late.status_code, late.headers["Retry-After"]) == (429, "60")
    assert "would start in about 90 s, after its X-Queue-Timeout of 30 s" in late.json()["details"]
    assert patient.status_code == unlimited.status_code == 200
    assert patient.headers["X-Queue-Position"] == "2"
    assert patient.headers["X-Expected-Wait"] == "90.0"
    assert patient.headers["X-Expected-End"] == "150.0"
    assert "X-Expected-Wait" not in accepted.headers
    assert connection.zcard("klein:open") == 3


@pytest.mark.parametrize(
    ("states", "start_s"),
    [
        ([], 0),
        ([WorkerState.ASLEEP], 40),
        ([WorkerState.LOADING], 30),
        ([WorkerState.ASLEEP, WorkerState.LOADING], 30),
        ([WorkerState.ASLEEP, WorkerState.READY], 0),
    ],
)
def test_estimate_includes_start_of_engine(states, start_s):
    """Without a loaded engine the wait includes a start as long as the last one, or what is left of it."""
    workers = [
        Worker(
            name="w",
            checkpoint=KIND,
            weights="x",
            revision="1",
            seen_at=100,
            state=state,
            state_since=90,
            start_s=40,
        )
        for state in states
    ]
    start = estimate_start(workers, now=100)

    assert start == timedelta(seconds=start_s)
    speed = Speed(base_s=4, per_work_s=0)
    outlook = Outlook(workers=1, run=speed, engine=speed, works=(), start=start)
    assert outlook.wait_behind(0, 1) == timedelta(seconds=start_s + 2)


def test_overdue_start_is_not_negative():
    """A start that takes longer than the last one is expected now."""
    worker = Worker(
        name="w",
        checkpoint=KIND,
        weights="x",
        revision="1",
        seen_at=100,
        state=WorkerState.LOADING,
        state_since=10,
        start_s=40,
    )

    assert estimate_start([worker], now=100) == timedelta()

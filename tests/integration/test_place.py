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
from app.predictions.backlog import Backlog
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.place import Place, Places, schedule_workers
from app.predictions.queue import Queues, kind_of, recent_key
from app.predictions.schedule import NOTICED_S, estimate_start, run_all
from app.predictions.speed import Sample, work_of
from app.predictions.worker_registry import Worker, WorkerRegistry, WorkerState
from app.settings import Settings
from tests.support.fakes import a_prediction, a_store

KIND = CheckpointKind.DISTILLED


def a_worker(name="w", **values):
    worker = Worker(name=name, checkpoint=KIND, weights="x", revision="1", seen_at=time.time())
    return replace(worker, **values)


def announce(connection, *workers):
    WorkerRegistry(connection).announce(*(workers or [a_worker()]))


def places_of(connection, backlog=None):
    """Return places that have not looked yet."""
    backlog = backlog or Backlog(a_store(connection))
    return Places(connection, Queues(connection), WorkerRegistry(connection), backlog)


def add_sample(connection, prediction, engine_s, run_s=None):
    """Let a prediction like this one have succeeded."""
    work, kind = work_of(prediction), kind_of(prediction)
    sample = Sample(work=work, engine_s=engine_s, run_s=run_s or engine_s)
    connection.lpush(recent_key(kind), sample.encode())


def images(prediction, count):
    return replace(prediction, parameters=replace(prediction.parameters, seeds=tuple(range(count))))


def about(number):
    """What is estimated while the clock goes on."""
    return pytest.approx(timedelta(seconds=number), abs=timedelta(seconds=0.5))


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
    """Behind three others, with runs of 40 s and two workers, it waits 40 s. Without a worker nobody knows."""
    store = a_store(connection)
    now = datetime.now(UTC)
    ended = a_prediction("done").claim("w", now - timedelta(seconds=40))
    store.add(ended)
    store.change("done", lambda p, _at: p.succeed("w", (), (), now))
    Queues(connection).take(KIND)
    for name in "abcd":
        store.add(a_prediction(name))

    unknown = places_of(connection).find(store.get("d"))
    announce(connection, a_worker("w1"), a_worker("w2"))
    places = places_of(connection)
    place = places.find(store.get("d"))

    assert unknown == Place(ahead=3, expected_wait=None, expected_end=None)
    assert place == Place(ahead=3, expected_wait=about(40), expected_end=about(80))
    assert places.find(store.get("done")) is None
    assert places.wait_at_end(KIND) == about(80)


def test_estimate_knows_the_work_ahead(connection):
    """What runs, what waits in line and the prediction itself each count with their own work."""
    store = a_store(connection)
    announce(connection)
    add_sample(connection, a_prediction(), 10.0, 15.0)
    for name, count in (("running", 2), ("large", 4), ("small", 1)):
        store.add(images(a_prediction(name), count))
    Queues(connection).take(KIND)
    store.change("running", lambda p, now: p.claim("a", now))
    places = places_of(connection)

    assert places.find(store.get("large")) == Place(
        ahead=0, expected_wait=about(20), expected_end=about(20 + 60)
    )
    assert places.find(store.get("small")) == Place(
        ahead=1, expected_wait=about(20 + 40), expected_end=about(60 + 15)
    )
    assert places.find_for_new(a_prediction("new")) == Place(
        ahead=2, expected_wait=about(20 + 40 + 10), expected_end=about(70 + 15)
    )


def test_burst_is_known_between_two_looks(connection):
    """What this process accepts and hears to have ended since it last looked counts at once."""
    store = a_store(connection)
    announce(connection)
    add_sample(connection, a_prediction(), 10.0)
    backlog = Backlog(store)
    places = places_of(connection, backlog)
    free = places.place_behind(0, a_prediction("first"))
    for name, count in (("first", 4), ("second", 1)):
        backlog.accept(images(a_prediction(name, created_at=datetime.now(UTC)), count))
    behind_both = places.place_behind(2, a_prediction("third"))
    first_runs = places.place_behind(1, a_prediction("third"))
    backlog.end("first")
    first_ended = places.place_behind(1, a_prediction("third"))

    waits = [p.expected_wait for p in (free, behind_both, first_runs, first_ended)]
    assert waits == [about(0), about(50), about(50), about(10)]


def test_prediction_that_was_just_taken_is_not_forgotten(connection):
    """Between its line and its claim a prediction counts as running."""
    store = a_store(connection)
    announce(connection)
    add_sample(connection, a_prediction(), 10.0)
    store.add(images(a_prediction("taken", created_at=datetime.now(UTC)), 4))
    Queues(connection).take(KIND)

    assert places_of(connection).find_for_new(a_prediction()).expected_wait == about(40)


def test_keys_take_turns_in_the_estimate(connection):
    """A key without predictions in line waits for one of another key, and not for all of them."""
    store = a_store(connection)
    announce(connection)
    add_sample(connection, a_prediction(), 10.0)
    for number in range(9):
        store.add(a_prediction(f"{number}", key_id="busy"))
    place = places_of(connection).find_for_new(a_prediction(key_id="other"))

    assert place == Place(ahead=1, expected_wait=about(10), expected_end=about(20))


def test_long_line_counts_as_its_mean(connection):
    """Those behind the first 50 take as long as recent ones do on average."""
    store = a_store(connection)
    announce(connection)
    add_sample(connection, a_prediction(), 1.0)
    for number in range(60):
        store.add(a_prediction(f"{number}"))

    assert places_of(connection).wait_at_end(KIND) == about(60)


def test_wait_includes_turn_and_start_of_swapped_models(connection):
    """For a model that is asleep in a worker whose loaded model has work, the wait is that work and the start."""
    base = a_prediction("base", model="flux-2-klein-4b-base-text-to-image")
    loaded = a_worker("w-distilled", process="w", turn_s=60, state_since=time.time())
    asleep = replace(
        loaded,
        name="w-base",
        checkpoint=CheckpointKind.BASE,
        state=WorkerState.ASLEEP,
        start_s=30,
    )
    announce(connection, loaded, asleep)
    for prediction in (a_prediction(), base):
        add_sample(connection, prediction, 2.0)
    for name in "abcd":
        a_store(connection).add(a_prediction(name))

    assert places_of(connection).find_for_new(base).expected_wait == about(4 * 2 + 30)


def test_running_prediction_has_an_expected_end(connection):
    """One that runs has no position, and ends when it has run as long as its like."""
    announce(connection)
    add_sample(connection, a_prediction(), 1.0, 30.0)
    a_store(connection).add(a_prediction())
    running = a_store(connection).change("p", lambda p, now: p.claim("a", now))
    place = places_of(connection).find(running)

    assert place == Place(ahead=None, expected_wait=None, expected_end=about(30))


def test_create_that_starts_too_late_is_refused(connection, redis_server, tmp_path):
    """With KLEIN_REFUSE_LATE a create that cannot start within its queue timeout is a 429 with the rest as Retry-After."""
    announce(connection)
    body = {"model": "flux-2-klein-4b-text-to-image", "input": {"prompt": "x"}}
    _, key = KeyRing(connection, frozenset()).create("k", None, Limits())
    settings = Settings(redis_url=redis_server.url, data=tmp_path, refuse_late=True, _env_file=None)
    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:
        accepted = client.post("/v1/prediction", json=body)
        add_sample(connection, a_store(connection).get(accepted.json()["id"]), 60.0)

    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:
        late = client.post("/v1/prediction", json=body, headers={"X-Queue-Timeout": "30"})
        patient = client.post("/v1/prediction", json=body, headers={"X-Queue-Timeout": "200"})
        unlimited = client.post("/v1/prediction", json=body)

    assert (late.status_code, late.headers["Retry-After"]) == (429, "30")
    assert "would start in about 60 s, after its X-Queue-Timeout of 30 s" in late.json()["details"]
    assert patient.status_code == unlimited.status_code == 200
    assert patient.headers["X-Queue-Position"] == "2"
    assert patient.headers["X-Expected-Wait"] == "60.0"
    assert patient.headers["X-Expected-End"] == "120.0"
    assert "X-Expected-Wait" not in accepted.headers
    assert connection.zcard("klein:open") == 3


@pytest.mark.parametrize(
    ("states", "start_s"),
    [
        ([WorkerState.ASLEEP], NOTICED_S + 40),
        ([WorkerState.LOADING], 30),
        ([WorkerState.ASLEEP, WorkerState.LOADING], NOTICED_S + 40),  # the first one takes it
        ([WorkerState.ASLEEP, WorkerState.READY], 0),
    ],
)
def test_estimate_includes_start_of_engine(states, start_s):
    """Without a loaded engine the wait includes a start as long as the last one, or what is left of it."""
    entries = [
        a_worker(f"{number}", state=state, state_since=90, start_s=40)
        for number, state in enumerate(states)
    ]
    workers = schedule_workers(entries, now=100)
    run_all(workers, [])

    assert estimate_start(KIND, {KIND: []}, workers, {KIND: NOTICED_S}) == start_s


def test_overdue_start_is_not_negative():
    """A start that takes longer than the last one is expected now."""
    entry = a_worker(state=WorkerState.LOADING, state_since=10, start_s=40)
    workers = schedule_workers([entry], now=100)
    run_all(workers, [])

    assert estimate_start(KIND, {KIND: []}, workers, {}) == 0


def test_speed_is_fitted_at_most_once_a_second(connection):
    """A look at the line reads new samples, and the fit that they change is made once a second."""
    now_s = 100.0
    backlog = Backlog(a_store(connection), clock=lambda: now_s)
    prediction = a_prediction()
    times = []
    for now_s, engine_s in ((100.0, 2.0), (100.5, 4.0), (101.5, 4.0)):  # noqa: B007 -- the clock reads it
        add_sample(connection, prediction, engine_s)
        times.append(backlog.line(KIND).engine_time(prediction))

    assert times[0] == times[1] == pytest.approx(2.0)
    assert times[2] > 2.5


@pytest.mark.parametrize(
    ("new", "later_s", "is_fitted"), [(1, 2.0, False), (1, 11.0, True), (3, 2.0, True)]
)
def test_speed_is_fitted_again_once_an_eighth_of_the_samples_is_new(
    connection, new, later_s, is_fitted
):
    """A single new sample among many changes the estimate after ten seconds, several do after one."""
    now_s = 100.0
    backlog = Backlog(a_store(connection), clock=lambda: now_s)
    prediction = a_prediction()
    for number in range(16):
        add_sample(connection, prediction, 2.0 + number / 1e3)
    before = backlog.line(KIND).engine_time(prediction)
    for number in range(new):
        add_sample(connection, prediction, 3.0 + number / 1e3)
    now_s += later_s

    assert (backlog.line(KIND).engine_time(prediction) != before) is is_fitted


@pytest.mark.parametrize(
    "known",
    [{"time", "workers", "line"}, {"workers", "line"}, {"time", "line"}, {"time", "workers"}],
)
def test_estimate_needs_no_read_if_all_is_known(connection, known):
    """A place is found without Redis if its time, the workers and the lines of their models were read a moment ago."""
    prediction, clock = a_prediction(), Clock(connection)
    registry, backlog = WorkerRegistry(connection, clock), Backlog(a_store(connection))
    places = Places(connection, Queues(connection), registry, backlog, clock)
    reads = {
        "time": clock.now,
        "workers": registry.served,
        "line": lambda: backlog.line(kind_of(prediction)),
    }
    for name in known:
        reads[name]()

    assert places.is_fresh_for(prediction) == (known == reads.keys())

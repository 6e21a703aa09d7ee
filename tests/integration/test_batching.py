"""Batches on a real Redis and a real engine process: which predictions run together, and how each one ends."""

import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import Unavailable
from app.predictions.failure import Cause
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import MAX_ATTEMPTS, Status, Timeouts
from app.predictions.queue import Queues
from tests.support.fake_engine_process import FakeEngine
from tests.support.fakes import (
    ScriptedEngine,
    a_prediction,
    a_store,
    eventually,
    expire_lease,
    fast_clock,
    make_due,
)
from tests.support.worker_harness import QUEUE, WorkerHarness
from worker.engine_client import silence
from worker.job.batching import BatchFinder

KIND = CheckpointKind.DISTILLED
SIZE = {"width": 64, "height": 64}
FOUR = ("a", "b", "c", "d")


def batches_of(connection, max_batch, **checkpoint):
    served = replace(FakeEngine.checkpoint, batch=max_batch, **checkpoint)
    return BatchFinder(
        a_store(connection), Queues(connection), [served, replace(served, kind=CheckpointKind.BASE)]
    )


def add(connection, prediction_id, key="key", model="flux-2-klein-4b-text-to-image", **inputs):
    inputs = {"prompt": prediction_id, "seed": 7, "image_size": SIZE} | inputs
    prediction = a_prediction(prediction_id, key_id=key, model=model, input=inputs)
    a_store(connection).add(prediction)


def claim_next(connection):
    """Take the next prediction in line, as a worker does, and return it claimed."""
    connection.lpop(QUEUE)
    prediction_id = str(Queues(connection).take(KIND))
    return a_store(connection).change(prediction_id, lambda p, now: p.claim("me", now))


def find_mates(connection, max_batch=4, **checkpoint):
    batches = batches_of(connection, max_batch, **checkpoint)
    return list(batches.find_batch_mates(claim_next(connection)))


def test_compatible_predictions_form_batch(connection):
    """Predictions that differ only in prompt, seed, previews and file format form a batch, up to the maximum size."""
    add(connection, "p")
    add(connection, "q", seed=-3, output_format="jpeg", output_quality=50, previews=True)
    for name in ("r", "s", "t"):
        add(connection, name)

    assert find_mates(connection) == ["q", "r", "s"]
    assert connection.llen(QUEUE) == 1
    assert Queues(connection).take(KIND) == "t"


@pytest.mark.parametrize(
    "other",
    [
        {"image_size": {"width": 64, "height": 80}},
        {"num_inference_steps": 5},
        {"num_images": 2},
        {"loras": [{"path": "x.safetensors", "scale": 1.0}]},
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_incompatible_predictions_run_alone(connection, other, is_first):
    """Predictions that differ in size, steps or LoRAs, or that have several images, never share a batch, and keep their place."""
    add(connection, "p", **(other if is_first else {}))
    add(connection, "q", **({} if is_first else other))

    assert find_mates(connection) == []
    assert connection.llen(QUEUE) == 1
    assert Queues(connection).take(KIND) == "q"


@pytest.mark.parametrize(("guidance", "batch_mates"), [(4.0, ["q"]), (3.0, [])])
def test_guidance_must_match_on_base_checkpoint(connection, guidance, batch_mates):
    """On a base checkpoint, a different guidance prevents a shared batch, and a different negative prompt does not."""
    model = "flux-2-klein-4b-base-text-to-image"
    add(connection, "p", model=model, guidance_scale=4.0, negative_prompt="a")
    add(connection, "q", model=model, guidance_scale=guidance, negative_prompt="b")
    Queues(connection).take(CheckpointKind.BASE)
    first = a_store(connection).change("p", lambda p, now: p.claim("me", now))

    assert list(batches_of(connection, 4).find_batch_mates(first)) == batch_mates


def test_edits_run_alone(connection):
    """An edit never shares a batch, because input images are not shared."""
    add(connection, "p")
    a_store(connection).add(
        a_prediction(
            "q",
            model="flux-2-klein-4b-edit",
            input={"prompt": "x", "image_urls": ["q/in-0.png"], "seed": 1, "image_size": SIZE},
            reference_keys=("q/in-0.png",),
        )
    )

    assert find_mates(connection) == []


@pytest.mark.parametrize(
    ("side", "scaled", "count"), [(64, False, 3), (128, False, 0), (128, True, 3)]
)
def test_larger_images_reduce_batch_size(connection, side, scaled, count):
    """Four images of 64x64 have as many pixels as one of 128x128. A model that scales generates each at its own size."""
    for name in FOUR:
        add(connection, name, image_size={"width": side, "height": side})

    assert len(find_mates(connection, render_scaled=scaled)) == count


def test_batches_keep_turns_of_keys(connection):
    """With or without batches, the keys take turns, and each key's predictions run in order of arrival."""

    def fill():
        connection.flushall()
        for key, count in (("a", 9), ("b", 4), ("c", 1)):
            for number in range(count):
                add(connection, f"{key}{number}", key=key)

    fill()
    alone = [Queues(connection).take(KIND) for _ in range(14)]
    fill()
    batches, at_once = batches_of(connection, 3), []
    while connection.llen(QUEUE):
        first = claim_next(connection)
        at_once += [first.id, *batches.find_batch_mates(first)]

    assert at_once == alone
    assert Counter(i[0] for i in at_once[:6]) == {"a": 3, "b": 2, "c": 1}


def test_incompatible_prediction_is_not_overtaken(connection):
    """A prediction of another size is not overtaken by later ones of its key, and its key's turn comes next."""
    for number in range(6):
        add(connection, f"a{number}", key="a")
    add(connection, "b0", key="b", num_inference_steps=9)
    add(connection, "b1", key="b")

    assert find_mates(connection) == ["a1", "a2", "a3"]
    assert Queues(connection).take(KIND) == "b0"


def test_retried_prediction_runs_alone(connection):
    """A prediction whose attempt failed never shares a batch, because it may itself have ended the engine."""
    for name in FOUR:
        add(connection, name)
    store = a_store(connection)
    store.change("b", lambda p, _now: replace(p, attempt=1))

    assert find_mates(connection) == []  # "b" is next in its key's line
    assert find_mates(connection) == []  # "b" is first


def test_prediction_taken_by_dead_worker_is_recovered(connection):
    """A worker that dies between taking a prediction out of its line and claiming it loses nothing."""
    add(connection, "p")
    add(connection, "q")

    assert find_mates(connection) == ["q"]
    make_due(connection, "q")
    Maintenance(a_store(connection), Queues(connection), None).reconcile()  # type: ignore[arg-type]  # stores nothing
    assert Queues(connection).take(KIND) == "q"


@pytest.fixture
def rig(connection, tmp_path, child):
    rig = WorkerHarness(connection, tmp_path, child, batch=4, clock=fast_clock())
    yield rig
    rig.close()


@pytest.fixture
def scripted(connection, tmp_path):
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(), batch=4)
    yield rig
    rig.close()


@pytest.fixture
def generation_counts():
    """Return a function that counts the predictions and the batches generated since the test began."""

    def counts():
        names = ("klein_batch_size_sum", "klein_batch_size_count")
        return [REGISTRY.get_sample_value(name) or 0 for name in names]

    before = counts()
    return lambda: tuple(now - then for now, then in zip(counts(), before, strict=True))


def ends(rig, names=FOUR):
    return [(rig.ended(name).status, rig.ended(name).attempt) for name in names]


DONE = (Status.SUCCEEDED, 1)
AGAIN = (Status.SUCCEEDED, 2)


def test_batch_stores_files_per_prediction(rig, generation_counts):
    """Four waiting predictions form one batch. Each has its own file, in its own format, and its own end."""
    for name in FOUR:
        rig.add(name, output_format="jpeg" if name == "d" else "png")
    rig.work()

    assert ends(rig) == [DONE] * 4
    assert generation_counts() == (4, 1)
    outputs = [rig.ended(name).outputs[0].key for name in FOUR]
    assert [key[-3:] for key in outputs] == ["png", "png", "png", "jpg"]
    assert rig.files() == sorted(outputs)
    eventually(lambda: rig.leases.held == frozenset())


def test_cancel_in_batch_ends_one(rig):
    """A prediction of a batch that is cancelled at its third step gets no more steps and leaves no file. The others succeed."""
    for name in FOUR:
        rig.add(name, prompt="slow", num_inference_steps=8)
    steps: Counter[str] = Counter()

    def cancel_at_third(index, step, _steps):
        steps[FOUR[index]] += 1
        if (FOUR[index], step) == ("b", 3):
            rig.store.change("b", lambda p, now: p.cancel(now))

    rig.before_step = cancel_at_third
    rig.work()
    rig.publisher.close()

    assert ends(rig) == [DONE, (Status.CANCELLED, 1), DONE, DONE]
    assert steps == {"a": 8, "b": 3, "c": 8, "d": 8}
    assert not any(file.startswith("b/") for file in rig.files())


@pytest.mark.parametrize(
    ("prompt", "cause"), [("fault", Cause.ENGINE), ("out of memory", Cause.OUT_OF_MEMORY)]
)
def test_failure_in_batch_fails_one(rig, generation_counts, prompt, cause):
    """A request that fails in a batch fails alone. The others are generated."""
    for name in FOUR:
        rig.add(name, prompt=prompt if name == "c" else "fine")
    rig.work()

    assert ends(rig) == [DONE, DONE, (Status.FAILED, 1), DONE]
    assert rig.ended("c").failure.cause is cause
    assert generation_counts() == (4, 1)
    assert rig.revived == 0


def test_engine_death_in_batch_costs_one_attempt_each(rig, generation_counts):
    """After kill -9 during a batch all its predictions are queued again, run one by one, and succeed in their second attempt."""
    for name in FOUR:
        rig.add(name, prompt="slow", num_inference_steps=8)
    pid = rig.engine.pid

    def kill_at_second_step(_index, step, _steps):
        if step == 2 and rig.engine.pid == pid:
            os.kill(pid, signal.SIGKILL)

    rig.before_step = kill_at_second_step
    rig.work()
    amid = [(rig.store.get(name).status, rig.store.get(name).attempt) for name in FOUR]
    rig.reconcile()
    rig.work()

    assert amid == [(Status.QUEUED, 1)] * 4
    assert ends(rig) == [AGAIN] * 4
    assert rig.revived == 1
    assert generation_counts() == (8, 5)


def test_prediction_that_kills_engine_fails_alone(rig):
    """A prediction that kills its engine each time fails after its attempts. The ones that shared its batch once succeed."""
    for name in FOUR:
        rig.add(name, prompt="die" if name == "b" else "fine")
    for _ in range(MAX_ATTEMPTS):
        rig.work()
        rig.reconcile()

    assert ends(rig) == [AGAIN, (Status.FAILED, MAX_ATTEMPTS), AGAIN, AGAIN]
    assert rig.ended("b").failure.cause is Cause.WORKER_LOST
    assert rig.revived == MAX_ATTEMPTS


def test_run_timeout_in_batch_ends_one(rig, monkeypatch):
    """A request whose run timeout ends in a batch is retried alone. The others are neither delayed nor killed for it."""
    monkeypatch.setattr(silence, "MIN_STOP_S", 0.0)  # a step of the batch takes longer
    # The batch takes 3 s because of the others. Alone, "c" takes milliseconds, also on a slow machine.
    timeouts = {"c": Timeouts(queue=timedelta(days=999), run=timedelta(seconds=2))}
    for name in FOUR:
        prompt = "fine" if name == "c" else "slow"
        inputs = {"prompt": prompt, "seed": 7, "image_size": SIZE, "num_inference_steps": 20}
        rig.store.add(a_prediction(name, input=inputs, timeouts=timeouts.get(name)))
    rig.work()
    waits = rig.store.get("c")
    rig.reconcile()
    rig.work()

    assert (waits.status, waits.attempt) == (Status.QUEUED, 1)
    assert ends(rig) == [DONE, DONE, AGAIN, DONE]
    assert rig.revived == 0


def test_shutdown_releases_whole_batch(scripted):
    """When the worker shuts down during a batch, it releases all of its predictions, and no attempt is counted."""
    gate, is_generating = threading.Event(), threading.Event()

    def wait(_order):
        is_generating.set()
        gate.wait()

    scripted.engine.act = wait
    for name in FOUR:
        scripted.add(name)
    working = threading.Thread(target=scripted.work_next)
    working.start()
    assert is_generating.wait(30)
    held = {lease.prediction.id for lease in scripted.leases.held}
    scripted.generator.release_all()
    gate.set()
    working.join(30)

    assert held == set(FOUR)
    for name in FOUR:
        released = scripted.store.get(name)
        assert (released.status, released.attempt) == (Status.QUEUED, 0)
    assert scripted.files() == []
    assert scripted.leases.held == frozenset()


def test_lost_lease_in_batch_drops_one(scripted):
    """A prediction of a batch whose lease was lost is left to its new owner. The others are generated."""

    def take_over(order):
        if order.prompt == "b":
            expire_lease(scripted.store, "b")
            scripted.store.change("b", lambda p, now: p.claim("them", now))

    scripted.engine.act = take_over
    for name in FOUR:
        scripted.add(name, prompt=name)
    scripted.work()

    assert ends(scripted, ("a", "c", "d")) == [DONE] * 3
    theirs = scripted.store.get("b")
    assert (theirs.status, theirs.owner, theirs.attempt) == (Status.RUNNING, "them", 2)


@pytest.mark.parametrize("error", [Unavailable("Redis is away"), ValueError("a record of old")])
def test_failed_search_for_batch_mates_runs_prediction_alone(scripted, error):
    """An error in the search for batch mates does not keep the claimed prediction from running."""

    def fail(_first):
        yield "b"
        raise error

    scripted.batches.find_batch_mates = fail
    for name in ("a", "b"):
        scripted.add(name)
    scripted.work()

    assert ends(scripted, ("a", "b")) == [DONE] * 2

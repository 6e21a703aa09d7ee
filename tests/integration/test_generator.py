"""The job on a real Redis and real files, with a real engine process that has a fake model, or with a scripted engine."""

import _thread
import io
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from PIL import Image
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import Unavailable
from app.predictions.failure import Cause
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import MAX_ATTEMPTS, Status, Timeouts
from app.predictions.queue import Queues
from app.predictions.store import Store, Taken
from tests.support.fakes import (
    ScriptedEngine,
    a_prediction,
    a_store,
    eventually,
    expire_lease,
    fast_clock,
    make_due,
)
from tests.support.redis_server import running_redis
from tests.support.worker_harness import QUEUE, WorkerHarness
from worker.engine_client.process import EngineDied
from worker.job import token
from worker.job.attempt import Attempt
from worker.job.attempt_records import PROGRESS_S
from worker.job.leases import Lease
from worker.job.queue_worker import open_worker


@pytest.fixture
def rig(connection, tmp_path, child):
    rig = WorkerHarness(connection, tmp_path, child)
    yield rig
    rig.close()


@pytest.fixture
def scripted(connection, tmp_path):
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine())
    yield rig
    rig.close()


def add_edit(rig):
    """Add an edit of the image `p/in-0.png`."""
    rig.store.add(
        a_prediction(
            model="flux-2-klein-4b-edit",
            input={"prompt": "x", "image_urls": ["p/in-0.png"], "seed": 1},
            reference_keys=("p/in-0.png",),
        )
    )


@pytest.mark.parametrize(("kind", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_prediction_stores_files(rig, kind, suffix):
    """Two images are generated, stored in their format and size, and listed in the final record."""
    rig.add(num_images=2, output_format=kind, num_inference_steps=3)
    rig.work()
    ended = rig.ended()
    images = [Image.open(io.BytesIO(rig.storage.get(o.key))) for o in ended.outputs]

    assert ended.status is Status.SUCCEEDED
    assert (ended.attempt, ended.step, ended.run_time > timedelta()) == (1, ended.steps, True)
    assert [o.key.rpartition("/")[2] for o in ended.outputs] == [f"0.{suffix}", f"1.{suffix}"]
    assert [(o.width, o.height) for o in ended.outputs] == [(64, 64)] * 2
    assert [(str(p.format).lower(), p.size) for p in images] == [(kind, (64, 64))] * 2
    assert rig.files() == [o.key for o in ended.outputs]
    eventually(lambda: rig.leases.held == frozenset())


def test_engine_death_costs_one_attempt(rig):
    """The engine dies once. The prediction runs again and succeeds in its second attempt."""
    rig.add(prompt="slow", num_inference_steps=50)
    pid = rig.engine.pid

    def kill_at_first_step(_index, _step, _steps):
        if rig.engine.pid == pid:
            rig.engine.kill()

    rig.before_step = kill_at_first_step
    rig.work()
    assert rig.store.get("p").status is Status.QUEUED
    rig.reconcile()
    rig.work()
    ended = rig.ended()

    assert (ended.status, ended.attempt, rig.revived) == (Status.SUCCEEDED, 2, 1)


@pytest.mark.parametrize("prompt", ["die", "device lost"])
def test_prediction_that_kills_engine_fails_after_three_attempts(rig, prompt):
    """A prediction that kills its engine each time fails after three attempts, and the next prediction succeeds."""
    rig.add("poison", prompt)
    rig.add("next")
    for _ in range(MAX_ATTEMPTS):
        rig.work()
        rig.reconcile()
    poison = rig.ended("poison")

    assert poison.failure.cause is Cause.WORKER_LOST
    assert poison.failure.is_retryable
    assert "engine process ended" in poison.failure.message
    assert (poison.attempt, rig.revived) == (MAX_ATTEMPTS, MAX_ATTEMPTS)
    assert rig.ended("next").status is Status.SUCCEEDED
    assert rig.ended("next").attempt == 1


@pytest.mark.parametrize(("prompt", "revived"), [("slow", 0), ("hang", 1)])
def test_run_timeout_fails_without_retry(rig, prompt, revived):
    """At its run timeout a prediction fails without a retry. The engine is replaced only if it does not stop."""
    inputs = {"prompt": prompt, "seed": 7, "image_size": {"width": 64, "height": 64}}
    timeouts = Timeouts(queue=timedelta(days=9999), run=timedelta(seconds=0.2))
    inputs |= {"num_inference_steps": 50}
    rig.store.add(a_prediction("long", input=inputs, timeouts=timeouts))
    rig.add("next")
    rig.work()
    ended = rig.ended("long")

    assert (ended.failure.cause, ended.attempt) == (Cause.TIMEOUT, 1)
    assert ended.failure.is_retryable
    assert rig.revived == revived
    assert rig.ended("next").status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("prompt", "cause", "message"),
    [
        ("out of memory", Cause.OUT_OF_MEMORY, "fewer or smaller"),
        ("unusable lora", Cause.INPUT, "LoRA x.safetensors: no"),
        ("fault", Cause.ENGINE, "a fault"),
    ],
)
def test_engine_failure_fails_only_its_prediction(rig, prompt, cause, message):
    """Out of memory, an unusable LoRA and a fault each fail their prediction alone, with its reason, in one attempt."""
    rig.add("bad", prompt)
    rig.add("next")
    rig.work()
    bad = rig.ended("bad")

    assert (bad.failure.cause, bad.attempt, rig.revived) == (cause, 1, 0)
    assert message in bad.failure.message
    assert rig.ended("next").status is Status.SUCCEEDED


def test_cancel_stops_engine(rig):
    """A prediction that is cancelled while it runs stops when its next step is stored, and leaves no file."""
    rig.add(prompt="slow", num_inference_steps=50)
    steps = []

    def cancel_at_third(_index, step, _steps):
        steps.append(step)
        if step == 3:
            rig.store.change("p", lambda p, now: p.cancel(now))

    rig.before_step = cancel_at_third
    rig.work()
    rig.publisher.close()

    assert rig.ended().status is Status.CANCELLED
    assert steps[:3] == [1, 2, 3]
    assert len(steps) < 25  # a step is stored at most every 0.1 s
    assert rig.files() == []
    assert rig.leases.held == frozenset()


def test_reference_images_reach_engine(scripted):
    """Stored input images are sent with the order."""
    scripted.storage.put("p/in-0.png", b"png")
    add_edit(scripted)
    scripted.work()

    assert scripted.engine.orders[0].reference_files == (b"png",)
    assert scripted.ended().notes == ("a note",)


def test_missing_reference_image_fails_prediction(scripted):
    """A missing input image is a storage failure, and the engine gets no request."""
    add_edit(scripted)
    scripted.work()

    assert scripted.ended().failure.cause is Cause.INPUT
    assert scripted.engine.orders == []


@pytest.mark.parametrize("prediction_id", ["nobody", "cancelled", "theirs", "final"])
def test_stale_token_does_nothing(scripted, prediction_id):
    """The token of a prediction that is unknown, cancelled, owned by another worker or final sends no request to the engine."""
    for known in ("cancelled", "theirs", "final"):
        scripted.add(known)
    scripted.store.change("cancelled", lambda p, now: p.cancel(now))
    scripted.store.change("theirs", lambda p, now: p.claim("them", now))
    scripted.store.change("final", lambda p, now: p.claim("me", now))
    scripted.store.change("final", lambda p, now: p.succeed("me", (), (), now))
    scripted.generator.work(Taken(id=prediction_id))

    assert scripted.engine.orders == []


def test_repeated_turn_generates_once(scripted):
    """A repeated turn finds the prediction final, or running in the publisher, and generates nothing."""
    scripted.add()
    Queues(scripted.connection).add_tokens(CheckpointKind.DISTILLED, 2)
    scripted.work()
    scripted.generator.work(Taken(id="p"))

    assert scripted.ended().attempt == 1
    assert len(scripted.engine.orders) == 1


def test_lost_lease_stops_engine(scripted):
    """When another worker takes over, the engine is stopped, and the other attempt continues."""

    def take_over(_order):
        expire_lease(scripted.store, "p")
        scripted.store.change("p", lambda p, now: p.claim("them", now))

    scripted.engine.act = take_over
    scripted.add(num_inference_steps=4)
    scripted.work()
    scripted.publisher.close()

    theirs = scripted.store.get("p")
    assert (theirs.status, theirs.owner, theirs.attempt) == (Status.RUNNING, "them", 2)
    assert scripted.files() == []


def test_late_result_is_discarded_with_files(scripted):
    """A result that arrives after another worker finished changes nothing and leaves no file."""

    def overtaken(_order):
        expire_lease(scripted.store, "p")
        scripted.store.change("p", lambda p, now: p.claim("them", now))
        scripted.store.change("p", lambda p, now: p.succeed("them", (), (), now))

    scripted.engine.act = overtaken
    scripted.add()
    scripted.work()
    scripted.publisher.close()

    assert scripted.store.get("p").owner == "them"
    assert scripted.store.get("p").outputs == ()
    assert scripted.files() == []


@pytest.fixture
def leaving():
    """Make SIGTERM end the main thread's work, as in a worker that gets the signal twice, with Python's SIGINT handler."""

    def leave(*_):
        raise SystemExit(0)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, leave),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "stop"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_shutdown_releases_predictions(scripted, leaving, number, stop):
    """When a worker shuts down during a run, it releases this prediction and the next one, and no attempt is counted."""
    gate = threading.Event()

    def leave(_order):
        _thread.interrupt_main(number)
        gate.wait()

    scripted.engine.act = leave
    scripted.add("p")
    scripted.add("q")
    with pytest.raises(stop):
        scripted.work()
    scripted.generator.release_all()
    gate.set()
    scripted.generator.close()
    scripted.publisher.close()

    assert scripted.engine.orders
    for name in ("p", "q"):
        released = scripted.store.get(name)
        assert (released.status, released.attempt, released.owner) == (Status.QUEUED, 0, None)
    assert scripted.files() == []
    assert scripted.leases.held == frozenset()


def test_shutdown_ends_wait_for_engine(scripted):
    """When another thread starts the shutdown, a prediction that waits for the engine and one that is claimed too late are released."""
    gate = threading.Event()
    scripted.engine.act = lambda _order: gate.wait()
    for name in ("p", "q", "r"):
        scripted.add(name)
    scripted.generator.work(Taken(id="p"))
    waiting = threading.Thread(target=scripted.generator.work, args=(Taken(id="q"),))
    waiting.start()
    eventually(lambda: scripted.store.get("q").status is Status.RUNNING)
    eventually(lambda: len(scripted.leases.held) == 2)
    scripted.generator.release_all()
    waiting.join(30)
    scripted.generator.work(Taken(id="r"))
    is_over = not waiting.is_alive()
    gate.set()
    scripted.generator.wait()

    assert is_over
    for name in ("p", "q", "r"):
        assert scripted.store.get(name).status is Status.QUEUED
        assert scripted.store.get(name).attempt == 0
    assert scripted.leases.held == frozenset()


def test_next_prediction_waits_for_engine(scripted):
    """Near the end of a run the next prediction is claimed, and is generated only after it."""
    gate = threading.Event()
    scripted.engine.act = lambda _order: gate.wait()
    scripted.add("p")
    scripted.add("q")
    scripted.generator.work(Taken(id="p"))  # returns while the engine is still busy
    second = threading.Thread(target=scripted.generator.work, args=(Taken(id="q"),))
    second.start()
    eventually(lambda: scripted.store.get("q").status is Status.RUNNING)
    at_work = len(scripted.engine.orders)
    gate.set()
    second.join()

    assert at_work == 1
    assert scripted.ended("p").status is Status.SUCCEEDED
    assert scripted.ended("q").status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("step", "steps", "passed_s", "is_near"),
    [
        (1, 4, 0.01, True),
        (1, 4, 0.05, False),
        (3, 4, 0.25, True),
        (49, 50, 4.8, True),
        (49, 50, 49, False),
        (50, 50, 49, True),
    ],
)
def test_end_is_estimated_from_steps(step, steps, passed_s, is_near):
    """A run is near its end if the rest, at its measured pace, takes at most a tenth of a second."""
    attempt = Attempt(lease=Lease(prediction=a_prediction(), owner="a"), started_s=100.0)

    assert attempt.is_near_end(step, steps, 100.0 + passed_s) is is_near


def test_quick_steps_are_not_stored_one_by_one(connection, tmp_path):
    """A step that follows the last stored one at once is not stored. A later one is."""
    now_s, stored = [0.0], []
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(steps=5), clock=lambda: now_s[0])
    pauses = iter((PROGRESS_S / 2, PROGRESS_S, PROGRESS_S / 2, PROGRESS_S, 0))

    def pass_time(_index, _step, _steps):
        stored.append(rig.store.get("p").step)
        now_s[0] += next(pauses)

    rig.before_step = pass_time
    rig.add()
    rig.work()
    rig.close()

    assert stored == [0, 0, 2, 2, 4]


def test_result_does_not_wait_for_restart_of_engine(connection, tmp_path):
    """Of a batch whose engine dies during the second image, the first image is published while the engine restarts."""

    def die_at_second(_order):
        if len(rig.engine.orders) == 2:
            raise EngineDied("gone", "")

    def restart():
        eventually(lambda: rig.store.get("p").status is Status.SUCCEEDED)
        was_published.set()

    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(die_at_second), batch=2)
    rig.ensure_running, was_published = restart, threading.Event()
    rig.add("p")
    rig.add("q")
    rig.work()
    rig.close()

    assert was_published.is_set()
    assert rig.store.get("q").status is Status.QUEUED


def test_engine_error_reaches_waiting_caller(scripted):
    """An exception of ensure_running reaches the caller that waits for the work, and the prediction is not lost."""

    def die(_order):
        raise EngineDied("gone", "")

    def time_out_in_queue():
        raise SystemExit("no engine")

    scripted.engine.act = die
    scripted.ensure_running = time_out_in_queue
    scripted.add()
    scripted.generator.work(Taken(id="p"))

    with pytest.raises(SystemExit, match="no engine"):
        scripted.generator.wait()
    eventually(lambda: scripted.store.get("p").status is Status.QUEUED)
    assert scripted.store.get("p").attempt == 1


def test_dead_worker_is_replaced_after_lease(scripted):
    """A claim whose worker died is found when its lease ends, and another worker runs the prediction."""
    scripted.add()
    scripted.connection.lpop(QUEUE)
    Queues(scripted.connection).take(CheckpointKind.DISTILLED)
    scripted.store.change("p", lambda p, now: p.claim("dead", now))
    expire_lease(scripted.store, "p")
    make_due(scripted.connection, "p")
    maintenance = Maintenance(scripted.store, Queues(scripted.connection), scripted.storage)
    maintenance.reconcile()
    scripted.work()

    assert (scripted.ended().status, scripted.ended().attempt) == (Status.SUCCEEDED, 2)


def test_redis_outage_at_end_keeps_result(tmp_path):
    """If Redis dies between the last step and the end, the files are kept, and the end is recorded once Redis is back."""
    with (
        running_redis() as server,
        redis.Redis(unix_socket_path=str(server.socket), retry=Retry(NoBackoff(), 0)) as connection,
    ):
        engine = ScriptedEngine(lambda _order: server.kill())
        rig = WorkerHarness(connection, tmp_path, engine)
        rig.add()
        rig.generator.work(Taken(id="p"))
        eventually(rig.files)
        with pytest.raises(Unavailable):
            Store(connection, Queues(connection), timedelta(1)).get("p")
        server.start()
        ended = rig.ended()
        rig.publisher.close()

        assert (ended.status, ended.attempt, len(engine.orders)) == (Status.SUCCEEDED, 1, 1)
        assert rig.files() == [o.key for o in ended.outputs]


def test_partitioned_worker_is_replaced(redis_server, connection, tmp_path):
    """A worker that loses Redis during a run continues. The other worker's end stands, and its own files are deleted."""
    wire = Path(redis_server.socket).with_name("cut.sock")
    wire.symlink_to(redis_server.socket)
    other = a_store(connection)

    def cut_and_take_over(_order):
        wire.unlink()
        connection.client_kill_filter(skipme=True, _type="normal")
        expire_lease(other, "p")
        other.change("p", lambda p, now: p.claim("them", now))
        other.change("p", lambda p, now: p.succeed("them", (), (), now))

    with redis.Redis(unix_socket_path=str(wire), retry=Retry(NoBackoff(), 0)) as cut:
        rig = WorkerHarness(cut, tmp_path, ScriptedEngine(cut_and_take_over))
        rig.add()
        rig.generator.work(Taken(id="p"))
        eventually(rig.files)  # stored, but not recorded
        wire.symlink_to(redis_server.socket)
        rig.publisher.close()

    assert other.get("p").owner == "them"
    assert rig.files() == []
    wire.unlink()


class InterruptedStore(Store):
    """A store that calls the test once before its next change."""

    interrupt: Callable[[], None] | None = None

    def change(self, prediction_id, transition):
        act, self.interrupt = self.interrupt, None
        if act is not None:
            act()
        return super().change(prediction_id, transition)


def test_prediction_claimed_during_release_is_released_too(connection, tmp_path):
    """A prediction that is claimed while another one is being released is released as well, and no thread waits for it."""
    store = InterruptedStore(connection, Queues(connection), timedelta(days=1))
    gate, is_generating = threading.Event(), threading.Event()

    def generate(_order):
        is_generating.set()
        gate.wait()

    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(generate), store=store)
    rig.add("p")
    rig.add("q")
    rig.generator.work(Taken(id="p"))
    assert is_generating.wait(30)
    late = threading.Thread(target=rig.generator.work, args=(Taken(id="q"),), daemon=True)

    def claim_late():
        late.start()
        eventually(lambda: store.get("q").status is Status.RUNNING or not late.is_alive())
        late.join(0.2)  # until it is passed to the engine's thread

    store.interrupt = claim_late
    rig.generator.release_all()
    late.join(10)
    gate.set()
    is_over = not late.is_alive()
    held = rig.leases.held
    rig.generator.close()
    rig.close()

    assert is_over
    assert held == frozenset()
    for name in ("p", "q"):
        assert (store.get(name).status, store.get(name).attempt) == (Status.QUEUED, 0)


class AwayStore(Store):
    """A store that accepts no changes while `is_away` is set, as in an outage of Redis."""

    is_away = False

    def change(self, prediction_id, transition):
        if self.is_away:
            raise Unavailable
        return super().change(prediction_id, transition)


@pytest.fixture
def away(connection, tmp_path):
    """A worker whose store is unavailable from the first step until the last one."""
    store = AwayStore(connection, Queues(connection), timedelta(days=1))
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(), clock=fast_clock(), store=store)

    def go_and_come_back(_index, step, steps):
        store.is_away = step < steps

    rig.before_step = go_and_come_back
    yield rig
    rig.close()


def test_unrecorded_progress_does_not_stop_prediction(away):
    """A step that cannot be recorded does not affect the prediction."""
    away.add()
    away.work()

    assert (away.ended().status, away.ended().attempt) == (Status.SUCCEEDED, 1)


def test_unrecorded_failure_expires_with_lease(away):
    """An attempt that fails while Redis is unavailable stays unchanged, and its lease expires."""

    def die(_order):
        raise EngineDied("gone", "")

    away.engine.act = die
    away.add()
    away.work()

    assert away.store.get("p").status is Status.RUNNING
    assert away.leases.held == frozenset()
    away.store.is_away = False


def test_release_that_failed_is_repeated(connection, tmp_path):
    """A prediction that cannot be released while Redis is unavailable is released when its engine has ended."""
    store = AwayStore(connection, Queues(connection), timedelta(days=1))
    gate, is_generating = threading.Event(), threading.Event()

    def generate(_order):
        is_generating.set()
        gate.wait()
        raise EngineDied("killed by the shutdown", "")

    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(generate), store=store)
    rig.add()
    rig.generator.work(Taken(id="p"))
    assert is_generating.wait(30)
    store.is_away = True
    rig.generator.release_all()
    store.is_away = False
    gate.set()
    rig.generator.close()
    rig.close()

    assert (store.get("p").status, store.get("p").attempt) == (Status.QUEUED, 0)


@pytest.fixture
def work_by_rq(rig):
    """A real RQ worker that works until no token is left. The test chooses the next prediction."""

    def work(take):
        worker = open_worker(rig.connection, "w", [CheckpointKind.DISTILLED])
        with token.provide_dependencies(rig.generator, take):
            return worker.work(burst=True, logging_level="WARNING")

    return work


def test_rq_runs_prediction(rig, work_by_rq):
    """RQ takes the token and runs the job with the dependencies that this process provides."""
    rig.add("bad", "fault")
    rig.add("good")

    assert work_by_rq(rig.store.take_next)
    assert rig.ended("bad").failure.cause is Cause.ENGINE
    assert rig.ended("good").status is Status.SUCCEEDED
    assert rig.connection.keys("rq:job:*") == []


def test_cancel_while_rq_holds_token_is_no_failure(rig, work_by_rq, caplog):
    """The cancel deletes the token. RQ finds it gone, does not report a failure, and does not recreate it."""

    def take(kind, owner):
        rig.store.change("p", lambda p, now: p.cancel(now))
        return rig.store.take_next(kind, owner)

    rig.add()

    assert work_by_rq(take)
    assert rig.store.get("p").status is Status.CANCELLED
    assert caplog.records == []
    assert rig.connection.keys("rq:job:*") + rig.connection.keys("rq:execution*") == []


def test_start_of_engine_shows_on_prediction_that_waits_for_it(scripted):
    """While the engine starts for a prediction, its record shows the phase and the expected end. Its run begins after that."""
    seen = []

    def wake():
        scripted.generator.show_start("weights", timedelta(seconds=40))
        seen.append(scripted.store.get("p"))
        scripted.engine.is_ready = True

    scripted.engine.is_ready = False
    scripted.ensure_running = wake
    scripted.add()
    assert scripted.generator.is_idle
    scripted.work()
    ended = scripted.ended()

    (waiting,) = seen
    left = waiting.engine_start.ready_at - waiting.started_at
    assert waiting.engine_start.phase == "weights"
    assert timedelta(seconds=39) < left < timedelta(seconds=60)
    assert ended.status is Status.SUCCEEDED
    assert ended.started_at > waiting.started_at
    eventually(lambda: scripted.generator.is_idle)

"""Tokens on a real RQ: whatever is written in Redis, a worker calls one function and nothing else."""

import json
import socket
import zlib
from pathlib import Path

import pytest
import redis
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer

from app.lua.script import execute
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import TOKEN, Queues, kind_of
from tests.support.fakes import NOW, a_prediction, a_store
from worker.job.model_turns import ModelTurns
from worker.job.queue_worker import RECONNECT_S, TokenQueue, open_worker
from worker.job.token import provide_dependencies

QUEUE = "rq:queue:klein-distilled"
JOB = "worker.job.token.run_next"  # that klein 0.1 wrote


class Recorder:
    """A generator that only records its calls."""

    def __init__(self):
        self.worked_on = []
        self.error = None

    def work(self, taken, _find_batch_mates):
        self.worked_on.append(taken.id)
        if self.error is not None:
            raise self.error


@pytest.fixture
def recorder(connection):
    recorder = Recorder()
    with provide_dependencies(recorder, a_store(connection).take_next):  # type: ignore[arg-type]  # it works without an engine
        yield recorder


def push(connection, prediction):
    with connection.pipeline() as pipe:
        Queues(connection).push(prediction, pipe)
        execute(pipe)


def burst(connection):
    """Let a real worker, wired as in worker/main.py, take all tokens. Return whether it took any."""
    worker = open_worker(connection, "w", [CheckpointKind.DISTILLED])
    return worker.work(burst=True, logging_level="CRITICAL")


def forge(connection, token_id, function=JOB, arguments=(), instance=None, **fields):
    """Write a job into Redis, as an attacker with write access can."""
    data = json.dumps([function, instance, list(arguments), {}]).encode()
    at = NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    job = {"data": zlib.compress(data), "created_at": at, "enqueued_at": at, "status": "queued"}
    job |= {"origin": "klein-distilled", "timeout": "-1", **fields}
    connection.hset(f"rq:job:{token_id}", mapping=job)
    connection.rpush(QUEUE, token_id)


def test_token_holds_no_data(connection):
    """A token is a fixed word in RQ's list, and RQ has no job of it."""
    push(connection, a_prediction())

    assert connection.lrange(QUEUE, 0, -1) == [b"token"]
    assert connection.keys("rq:*") == [QUEUE.encode()]


def test_token_of_klein_0_1_is_run_and_deleted(connection, recorder):
    """A token with a job, as klein 0.1 pushes it, runs the next prediction, and its job is deleted."""
    push(connection, a_prediction())
    connection.delete(QUEUE)
    forge(connection, "0f9e")
    burst(connection)

    assert recorder.worked_on == ["p"]
    assert connection.keys("rq:job:*") == []


@pytest.mark.parametrize(
    ("model", "queue"),
    [
        ("flux-2-klein-4b-edit", "rq:queue:klein-distilled"),
        ("flux-2-klein-4b-base-edit", "rq:queue:klein-base"),
    ],
)
def test_token_waits_in_queue_of_checkpoint_kind(connection, model, queue):
    """Each kind of checkpoint has its own queue, which holds the token until it is removed, and its own lines."""
    queues = Queues(connection)
    prediction = a_prediction(
        model=model, input={"prompt": "x", "seed": 1, "image_urls": ["p/in-0.png"]}
    )
    push(connection, prediction)
    assert connection.llen(queue) == queues.length(kind_of(prediction)) == 1
    with connection.pipeline() as pipe:
        queues.remove(prediction, pipe)
        execute(pipe)

    assert connection.llen(queue) == queues.length(kind_of(prediction)) == 0
    assert connection.keys("rq:job:*") == []


def test_worker_runs_tokens_in_order(connection, recorder):
    """Each token runs the next prediction, in order of arrival. Nothing is left."""
    for prediction_id in ("p", "q"):
        push(connection, a_prediction(prediction_id))
    burst(connection)

    assert recorder.worked_on == ["p", "q"]
    assert connection.keys("rq:job:*") == []


def test_duplicate_token_does_nothing(connection, recorder):
    """A token that was pushed twice does not stop the worker, and finds no prediction in line."""
    push(connection, a_prediction())
    Queues(connection).add_tokens(CheckpointKind.DISTILLED, 1)
    push(connection, a_prediction("q"))
    burst(connection)

    assert recorder.worked_on == ["p", "q"]


def test_token_without_job_is_skipped(connection, recorder):
    """An id in the queue without a job is dropped."""
    connection.rpush(QUEUE, "nothing-1")
    push(connection, a_prediction())
    burst(connection)

    assert recorder.worked_on == ["p"]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("os.system", ["touch {canary}"]),
        ("pathlib.Path.touch", ["{canary}"]),
        ("worker.job.token.provide_dependencies", ["{canary}"]),
        ("worker.job.token.run_next.__globals__", ["{canary}"]),
        ("", ["{canary}"]),
        (None, ["{canary}"]),
    ],
)
def test_forged_function_is_not_called(connection, recorder, tmp_path, function, arguments):
    """A token that names another function calls nothing, and the worker continues with the next."""
    canary = tmp_path / "canary"
    forge(connection, "evil", function, [a.format(canary=canary) for a in arguments])
    push(connection, a_prediction())
    burst(connection)

    assert not canary.exists()
    assert recorder.worked_on == ["p"]


def test_forged_instance_is_not_called(connection, recorder):
    """A token that calls a method of an object in its own data is refused."""
    forge(connection, "evil", "upper", [], instance="text")
    forge(connection, "worse", JOB, [], instance={"worker.job.token.run_next": 1})
    push(connection, a_prediction())
    burst(connection)

    assert recorder.worked_on == ["p"]


@pytest.mark.parametrize("outcome", [None, ValueError("the job fails")], ids=["success", "failure"])
def test_forged_callbacks_and_webhooks_are_not_called(connection, recorder, tmp_path, outcome):
    """Callbacks and webhooks in a job are never imported, called or fetched, however the job ends."""
    marker = tmp_path / "imported"
    module = Path(tmp_path) / "evil_callback.py"
    module.write_text(f"open({str(marker)!r}, 'w').close()\ndef call(*_): pass\n")
    recorder.error = outcome
    name = {"success_callback_name": "evil_callback.call", "failure_callback_name": "os.abort"}
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        hook = {"url": f"http://127.0.0.1:{canary.getsockname()[1]}/", "timeout": 1, "headers": {}}
        hooks = [hook | {"job_status": status} for status in ("finished", "failed")]
        forge(
            connection,
            "evil",
            **name,
            stopped_callback_name="os.abort",
            webhooks=json.dumps(hooks),
        )
        push(connection, a_prediction())
        burst(connection)

        with pytest.raises(BlockingIOError):
            canary.accept()
    assert recorder.worked_on == ["p"]
    assert not marker.exists()


def test_rq_alone_calls_forged_callbacks(connection):
    """RQ's own job class reads the forged callback from the same hash, so the tests above can fail."""
    forge(connection, "evil", success_callback_name="os.abort")
    job = Job.fetch("evil", connection=connection, serializer=JSONSerializer)

    assert callable(job.success_callback)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": b"cos\nsystem\n(S'true'\ntR."},
        {"data": zlib.compress(b"not json")},
        {"data": b""},
        {"data": zlib.compress(b"[1]")},
        {"meta": b"\x80\x04."},
        {"result": b"\x80\x04."},
        {"status": "bogus"},
        {"created_at": "yesterday"},
        {"timeout": "soon"},
        {"enqueued_at": b"\xff"},
    ],
    ids=str,
)
def test_unreadable_job_does_not_stop_worker(connection, recorder, fields):
    """A job that cannot be read is skipped, and the next token is processed."""
    forge(connection, "broken", **fields)
    push(connection, a_prediction())
    burst(connection)

    assert recorder.worked_on == ["p"]


def test_failed_job_leaves_worker_running(connection, recorder, caplog):
    """If a job raises, its token is deleted, the error is logged, and the next token is processed."""
    recorder.error = ValueError("x")
    for prediction_id in ("p", "q"):
        push(connection, a_prediction(prediction_id))
    burst(connection)

    assert recorder.worked_on == ["p", "q"]
    assert connection.keys("rq:*job*") == connection.keys("rq:*:intermediate") == []


def test_token_costs_few_commands(connection, recorder):
    """RQ's records of states, results and retries are not written: with its turn, a token costs less than RQ's own part did."""

    def commands(tokens):
        for number in range(tokens):
            push(connection, a_prediction(f"{tokens}-{number}"))
        before = connection.info("stats")["total_commands_processed"]
        burst(connection)
        return connection.info("stats")["total_commands_processed"] - before

    commands(1)
    few, many = commands(5), commands(45)

    assert len(recorder.worked_on) == 1 + 5 + 45
    assert (
        many - few
    ) / 40 < 30  # 19 without heartbeats, which come by time; 72 with RQ's own method


class AsleepQueue(TokenQueue):
    """The queue of a worker that is asleep. `looks` counts how often it looks for a token."""

    looks = 0
    on_look = staticmethod(lambda: None)

    @property
    def count(self):
        self.looks += 1
        self.on_look()
        return super().count


@pytest.fixture
def asleep(connection):
    turns = ModelTurns(lambda _kind: None, patience_s=0.01)
    return AsleepQueue(CheckpointKind.DISTILLED, turns, connection)


def take(queue, connection, timeout_s=1):
    return TokenQueue.dequeue_any([queue], timeout_s, connection)


def test_asleep_worker_takes_token_that_is_left(connection, asleep):
    """A worker that is asleep takes a token that no other worker has taken by its second look."""
    connection.rpush(QUEUE, TOKEN)

    assert take(asleep, connection)
    assert asleep.looks == 2


def test_asleep_worker_leaves_token_to_loaded_worker(connection, asleep):
    """A worker that is asleep takes no token that a worker with a loaded engine takes meanwhile, although it has waited longer."""

    connection.rpush(QUEUE, TOKEN)

    def take_before_second_look():
        if asleep.looks == 2:
            assert connection.lpop(QUEUE)

    asleep.on_look = take_before_second_look
    with pytest.raises(DequeueTimeout):
        take(asleep, connection)
    assert asleep.looks > 2


def test_loaded_worker_does_not_look(connection, asleep):
    """A worker whose engine is loaded waits for a token and takes it at once."""
    asleep.turns = ModelTurns(lambda _kind: 0.0)
    connection.rpush(QUEUE, TOKEN)

    assert take(asleep, connection)
    assert asleep.looks == 0


def test_worker_sends_heartbeats_while_no_token_comes(connection, monkeypatch):
    """A worker that waits in vain sends its next heartbeat and goes on to wait."""
    worker = open_worker(connection, "w", [CheckpointKind.DISTILLED])
    beats: list[int] = []

    def beat():
        beats.append(len(beats))
        if len(beats) == 2:
            connection.rpush(QUEUE, TOKEN)

    monkeypatch.setattr(worker, "heartbeat", beat)

    taken = worker.dequeue_job_and_maintain_ttl(timeout=1)
    assert taken is not None
    assert (taken[0].id, taken[1].name, beats) == (TOKEN, "klein-distilled", [0, 1])


def test_pause_during_outage_does_not_grow(connection, monkeypatch):
    """While Redis is down the worker tries again after the same short pause each time, so that it is back soon."""
    worker = open_worker(connection, "w", [CheckpointKind.DISTILLED])
    outages, pauses = iter(range(6)), list[float]()

    def beat():
        if next(outages, None) is not None:
            raise redis.ConnectionError("down")

    monkeypatch.setattr(worker, "heartbeat", beat)
    monkeypatch.setattr("time.sleep", pauses.append)
    connection.rpush(QUEUE, TOKEN)

    assert worker.dequeue_job_and_maintain_ttl(timeout=1) is not None
    assert pauses == [RECONNECT_S] * 6

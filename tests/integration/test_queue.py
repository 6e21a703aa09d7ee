"""Tokens on a real RQ: whatever is written in Redis, a worker calls one function and nothing else."""

import json
import socket
import zlib
from functools import partial
from pathlib import Path

import pytest
from rq import Callback, SimpleWorker
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from app.lua.script import execute
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import JOB, Queues, Token, open_queue
from tests.support.fakes import NOW, a_prediction
from worker.job.token import installed

QUEUE = "rq:queue:klein-distilled"


class Recorder:
    """A generator that only records its calls."""

    def __init__(self):
        self.worked_on = []
        self.error = None

    def work(self, prediction_id, _find_batch_mates):
        self.worked_on.append(prediction_id)
        if self.error is not None:
            raise self.error


@pytest.fixture
def recorder(connection):
    recorder = Recorder()
    take = partial(Queues(connection).take, CheckpointKind.DISTILLED)
    with installed(recorder, take):  # type: ignore[arg-type]  # it works without an engine
        yield recorder


def push(connection, prediction):
    with connection.pipeline() as pipe:
        Queues(connection).push(prediction, pipe)
        execute(pipe)


def burst(connection):
    """Let a real worker, wired as in worker/main.py, take all tokens. Return whether it took any."""
    worker = SimpleWorker(
        [open_queue(CheckpointKind.DISTILLED, connection)],
        connection=connection,
        job_class=Token,
        serializer=JSONSerializer,
        log_job_description=False,
    )
    return worker.work(burst=True, logging_level="CRITICAL")


def forge(connection, token_id, function=JOB, arguments=(), instance=None, **fields):
    """Write a job into Redis, as an attacker with write access can."""
    data = json.dumps([function, instance, list(arguments), {}]).encode()
    at = NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    job = {"data": zlib.compress(data), "created_at": at, "enqueued_at": at, "status": "queued"}
    job |= {"origin": "klein-distilled", "timeout": "-1", **fields}
    connection.hset(f"rq:job:{token_id}", mapping=job)
    connection.rpush(QUEUE, token_id)


def test_a_token_carries_nothing(connection):
    """RQ's record holds no prompt, no key, and nothing that an attacker can exploit."""
    push(connection, a_prediction())
    job = connection.hgetall("rq:job:p-1")
    function, instance, arguments, named = json.loads(zlib.decompress(job[b"data"]))

    assert (function, instance, arguments, named) == (JOB, None, [], {})
    assert b"house" not in b"".join(job.values())


@pytest.mark.parametrize(
    ("model", "queue"),
    [
        ("flux-2-klein-4b-edit", "rq:queue:klein-distilled"),
        ("flux-2-klein-4b-base-edit", "rq:queue:klein-base"),
    ],
)
def test_a_token_waits_where_its_checkpoint_is_held(connection, model, queue):
    """Each kind of checkpoint has its own queue, which holds the token until it is removed, and its own lines."""
    queues = Queues(connection)
    prediction = a_prediction(
        model=model, input={"prompt": "x", "seed": 1, "image_urls": ["p/in-0.png"]}
    )
    push(connection, prediction)
    assert connection.lrange(queue, 0, -1) == [b"p-1"]
    assert queues.is_queued(prediction)
    with connection.pipeline() as pipe:
        queues.remove(prediction, pipe)
        execute(pipe)

    assert not queues.is_queued(prediction)
    assert connection.exists("rq:job:p-1") == 0


def test_a_worker_works_on_tokens_in_order(connection, recorder):
    """Each token runs the next prediction, in order of arrival. Nothing is left."""
    for prediction_id in ("p", "q"):
        push(connection, a_prediction(prediction_id))
    burst(connection)

    assert recorder.worked_on == ["p", "q"]
    assert connection.keys("rq:job:*") == []


def test_a_token_too_many_does_nothing(connection, recorder):
    """A token that was pushed twice does not stop the worker, and finds no prediction in line."""
    push(connection, a_prediction())
    connection.rpush(QUEUE, "p-1")
    push(connection, a_prediction("q"))
    burst(connection)

    assert recorder.worked_on == ["p", "q"]


def test_a_token_whose_job_is_gone_is_passed_over(connection, recorder):
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
        ("worker.job.token.installed", ["{canary}"]),
        ("worker.job.token.run_next.__globals__", ["{canary}"]),
        ("", ["{canary}"]),
        (None, ["{canary}"]),
    ],
)
def test_a_forged_function_is_not_called(connection, recorder, tmp_path, function, arguments):
    """A token that names another function calls nothing, and the worker continues with the next."""
    canary = tmp_path / "canary"
    forge(connection, "evil", function, [a.format(canary=canary) for a in arguments])
    push(connection, a_prediction())
    burst(connection)

    assert not canary.exists()
    assert recorder.worked_on == ["p"]


def test_a_forged_instance_is_not_called(connection, recorder):
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
        read = Token.fetch("evil", connection=connection, serializer=JSONSerializer)
        assert len(read.webhooks) == 2  # RQ would send these
        burst(connection)

        with pytest.raises(BlockingIOError):
            canary.accept()
    assert recorder.worked_on == ["p"]
    assert not marker.exists()


def test_a_token_has_no_callbacks_wherever_it_comes_from(connection):
    """Callbacks are None on a token read from Redis and on one created with callbacks, and it can be saved."""
    forge(connection, "evil", success_callback_name="os.abort", failure_callback_name="os.abort")
    read = Token.fetch("evil", connection=connection, serializer=JSONSerializer)
    read.save()
    made = Token.create(
        JOB,
        ("p",),
        connection=connection,
        serializer=JSONSerializer,
        on_success=Callback(print),
        on_failure=Callback(print),
        on_stopped=Callback(print),
    )
    for token in (read, made):
        assert token.success_callback is None
        assert token.failure_callback is None
        assert token.stopped_callback is None


def test_rq_itself_would_call_them(connection):
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
def test_a_broken_job_does_not_stop_the_worker(connection, recorder, fields):
    """A job that cannot be read is skipped, and the next token is processed."""
    forge(connection, "broken", **fields)
    push(connection, a_prediction())
    burst(connection)

    assert recorder.worked_on == ["p"]


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), ValueError("x")])
def test_a_job_that_raises_leaves_a_worker_that_works(connection, recorder, error):
    """If a job raises, RQ marks its token failed and deletes it within a minute."""
    recorder.error = error
    push(connection, a_prediction())
    burst(connection)
    token = Token.fetch("p-1", connection=connection, serializer=JSONSerializer)

    assert token.get_status() is JobStatus.FAILED
    assert 0 < connection.ttl("rq:job:p-1") <= 60

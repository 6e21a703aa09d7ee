"""The queue: RQ carries tokens that say "somebody waits" and nothing else; who is next is decided in lines.

Each API key has a line of its own and the keys take turns, so that one key's backlog does not hold up another's.
Keys: `klein:line:{kind}:{key}` a key's ids by arrival · `klein:turns:{kind}` the keys in line by turn · `klein:arrivals`
the number of the latest arrival or turn. RQ may lose, repeat or resurrect a token, and a line may hold what has ended;
the record decides what happens (see ARCHITECTURE.md). A token can call one function only, whatever is written in Redis.
"""

from collections.abc import Callable
from typing import Any, cast

import redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from app.lua.script import execute, load_script
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Prediction

JOB = "worker.job.token.run_next"
KEEP_S = 60  # how long RQ keeps a token that has been worked on
NO_TIMEOUT = -1  # deadlines are the worker's own: an alarm cannot stop a stuck kernel
ARRIVALS = "klein:arrivals"
_JOIN = load_script("join_line")
_TAKE_NEXT = load_script("take_next")
_LIST_NEXT = load_script("list_next")
_TAKE_ONE = load_script("take_one")
_LEAVE = load_script("leave_line")
_MEASURE = load_script("measure_lines")


class Token(Job):
    """An RQ job that can only be a token: no other function, no callback, no webhook."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """Give the one function that a token may call. Raises PermissionError for any other."""
        if self.func_name != JOB or self.instance is not None:
            raise PermissionError(f"a token may only call {JOB}")
        return super().func  # type: ignore[no-any-return]  # RQ is untyped here

    success_callback = failure_callback = stopped_callback = property(lambda _self: None)

    def restore(self, raw_data: dict[Any, Any]) -> None:
        """Read a token; one that cannot be read is as good as gone, and no worker falls over it."""
        try:
            super().restore(raw_data)
        except (ValueError, TypeError, AssertionError) as exc:  # as RQ raises them
            raise NoSuchJobError(f"token {self.id} cannot be read") from exc

    def delete(self, pipeline: Pipeline | None = None, **kwargs: Any) -> None:  # type: ignore[override]  # the rest by name
        """Delete what has been worked on; of what a cancel deleted meanwhile, what RQ wrote since."""
        try:
            super().delete(pipeline, **kwargs)
        except InvalidJobOperation:
            (self.connection if pipeline is None else pipeline).delete(self.key)

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Send nothing: klein's own courier signs and retries."""


class Queues:
    """One RQ queue, with its lines, for each kind of checkpoint that a worker can hold."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._queues = {kind: open_queue(kind, connection) for kind in CheckpointKind}

    def push(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Put the prediction in line, with a token, by a fresh pipeline, before anything else."""
        queue = self._of(prediction)
        token = Token.create(
            JOB,
            (),
            id=prediction.token_id,
            connection=queue.connection,
            serializer=JSONSerializer,
            timeout=NO_TIMEOUT,
            result_ttl=0,
            failure_ttl=KEEP_S,
            description=prediction.id,
        )
        queue.enqueue_job(token, pipeline=pipe)
        kind = _kind_of(prediction)
        _JOIN(
            pipe,
            line=_line(kind, prediction.key_id),
            turns=_turns(kind),
            arrivals=ARRIVALS,
            id=prediction.id,
            key_id=prediction.key_id,
            is_retry=int(prediction.token > 1),
        )

    def take(self, kind: CheckpointKind) -> str | None:
        """Take the next prediction's id out of its line: the keys take turns, each in order of arrival."""
        taken = _TAKE_NEXT(
            self._redis, turns=_turns(kind), arrivals=ARRIVALS, line_prefix=_line(kind, "")
        )
        return None if taken is None else cast("bytes", taken).decode()

    def list_next(self, kind: CheckpointKind, most: int) -> list[str]:
        """List who would be taken next, in turns, and take nobody."""
        ids = _LIST_NEXT(self._redis, turns=_turns(kind), line_prefix=_line(kind, ""), most=most)
        return [i.decode() for i in cast("list[bytes]", ids)]

    def take_one(self, prediction: Prediction) -> bool:
        """Take this one out of its line, with a token, as its key's turn; False where it is not there any more."""
        kind = _kind_of(prediction)
        taken = _TAKE_ONE(
            self._redis,
            turns=_turns(kind),
            line=_line(kind, prediction.key_id),
            tokens=self._of(prediction).key,
            arrivals=ARRIVALS,
            key_id=prediction.key_id,
            id=prediction.id,
            token_prefix=Token.redis_job_namespace_prefix,
        )
        return bool(taken)

    def remove(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Take a prediction out of its line, with its token, by a pipeline."""
        token_id = prediction.token_id
        _LEAVE(
            pipe,
            line=_line(_kind_of(prediction), prediction.key_id),
            tokens=self._of(prediction).key,
            job=Token.key_for(token_id),
            id=prediction.id,
            token=token_id,
        )

    def is_queued(self, prediction: Prediction) -> bool:
        """Say whether it is in line, and as many tokens are left as wait there."""
        kind = _kind_of(prediction)
        pipe = self._redis.pipeline()
        pipe.zscore(_line(kind, prediction.key_id), prediction.id)
        _MEASURE(pipe, turns=_turns(kind), line_prefix=_line(kind, ""))
        pipe.llen(self._of(prediction).key)
        place, (in_line, _), tokens = execute(pipe)
        return place is not None and tokens >= in_line

    def length(self, kind: CheckpointKind) -> int:
        """Count the predictions that wait for workers of one kind."""
        return self._in_line(kind)[0]

    def oldest(self, kind: CheckpointKind) -> str | None:
        """Give the id of the prediction that arrived first of those that wait."""
        first = self._in_line(kind)[1]
        return None if first is None else first.decode()

    def _in_line(self, kind: CheckpointKind) -> tuple[int, bytes | None]:
        measured = _MEASURE(self._redis, turns=_turns(kind), line_prefix=_line(kind, ""))
        return cast("tuple[int, bytes | None]", measured)

    def _of(self, prediction: Prediction) -> Queue:
        return self._queues[_kind_of(prediction)]


def open_queue(kind: CheckpointKind, connection: "redis.Redis") -> Queue:
    """Open the queue that workers holding this kind of checkpoint listen to."""
    return Queue(f"klein-{kind}", connection=connection, serializer=JSONSerializer, job_class=Token)


def _kind_of(prediction: Prediction) -> CheckpointKind:
    return MODELS[prediction.model].checkpoint


def _turns(kind: CheckpointKind) -> str:
    return f"klein:turns:{kind}"


def _line(kind: CheckpointKind, key_id: str) -> str:
    return f"klein:line:{kind}:{key_id}"

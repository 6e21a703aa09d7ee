"""Queues predictions: RQ carries tokens that only wake a worker, and lines decide which prediction is next.

Each API key has a line, and the keys take turns, so that one key's backlog does not delay another's. Redis keys:
`klein:line:{kind}:{key}` holds a key's ids by arrival, `klein:turns:{kind}` the keys with a line by turn,
`klein:arrivals` the number of the latest arrival or turn. RQ may lose, repeat or resurrect a token, and a line may
contain ended predictions: the record decides (see ARCHITECTURE.md). A token can call one function only.
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
KEEP_S = 60  # how long RQ keeps a finished token
NO_TIMEOUT = -1  # the worker has its own timeouts: an alarm cannot stop a stuck kernel
ARRIVALS = "klein:arrivals"
_JOIN = load_script("join_line")
_TAKE_NEXT = load_script("take_next")
_LIST_NEXT = load_script("list_next")
_TAKE_ONE = load_script("take_one")
_LEAVE = load_script("leave_line")
_MEASURE = load_script("measure_lines")


class Token(Job):
    """An RQ job restricted to a token: no other function, callback or webhook."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """Return the only function that a token may call. Raises PermissionError for any other."""
        if self.func_name != JOB or self.instance is not None:
            raise PermissionError(f"a token may only call {JOB}")
        return super().func  # type: ignore[no-any-return]  # RQ is untyped here

    success_callback = failure_callback = stopped_callback = property(lambda _self: None)

    def restore(self, raw_data: dict[Any, Any]) -> None:
        """Read a token. Raises NoSuchJobError for one that cannot be read, so that no worker fails."""
        try:
            super().restore(raw_data)
        except (ValueError, TypeError, AssertionError) as exc:  # as RQ raises them
            raise NoSuchJobError(f"token {self.id} cannot be read") from exc

    def delete(self, pipeline: Pipeline | None = None, **kwargs: Any) -> None:  # type: ignore[override]  # the rest by name
        """Delete a finished token; where a cancel deleted it before, delete what RQ wrote since."""
        try:
            super().delete(pipeline, **kwargs)
        except InvalidJobOperation:
            (self.connection if pipeline is None else pipeline).delete(self.key)

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Send nothing: the courier delivers webhooks."""


class Queues:
    """One RQ queue, with its lines, for each checkpoint kind."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._queues = {kind: open_queue(kind, connection) for kind in CheckpointKind}

    def push(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Put the prediction in line with a token; `pipe` must be empty so far."""
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
        """Take the next prediction and return its id: keys take turns, each in order of arrival."""
        taken = _TAKE_NEXT(
            self._redis, turns=_turns(kind), arrivals=ARRIVALS, line_prefix=_line(kind, "")
        )
        return None if taken is None else cast("bytes", taken).decode()

    def list_next(self, kind: CheckpointKind, most: int) -> list[str]:
        """List the ids that would be taken next, without taking them."""
        ids = _LIST_NEXT(self._redis, turns=_turns(kind), line_prefix=_line(kind, ""), most=most)
        return [i.decode() for i in cast("list[bytes]", ids)]

    def take_one(self, prediction: Prediction) -> bool:
        """Take this prediction with a token, as its key's turn; False where it is no longer in line."""
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
        """Remove a prediction and its token from the queue, in a pipeline."""
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
        """Return whether it is in line, and its queue has a token for each that is."""
        kind = _kind_of(prediction)
        pipe = self._redis.pipeline()
        pipe.zscore(_line(kind, prediction.key_id), prediction.id)
        _MEASURE(pipe, turns=_turns(kind), line_prefix=_line(kind, ""))
        pipe.llen(self._of(prediction).key)
        place, (in_line, _), tokens = execute(pipe)
        return place is not None and tokens >= in_line

    def length(self, kind: CheckpointKind) -> int:
        """Count the predictions in line for one checkpoint kind."""
        return self._in_line(kind)[0]

    def oldest(self, kind: CheckpointKind) -> str | None:
        """Return the id of the first arrival among those in line."""
        first = self._in_line(kind)[1]
        return None if first is None else first.decode()

    def _in_line(self, kind: CheckpointKind) -> tuple[int, bytes | None]:
        measured = _MEASURE(self._redis, turns=_turns(kind), line_prefix=_line(kind, ""))
        return cast("tuple[int, bytes | None]", measured)

    def _of(self, prediction: Prediction) -> Queue:
        return self._queues[_kind_of(prediction)]


def open_queue(kind: CheckpointKind, connection: "redis.Redis") -> Queue:
    """Open the RQ queue of workers with this checkpoint kind."""
    return Queue(f"klein-{kind}", connection=connection, serializer=JSONSerializer, job_class=Token)


def _kind_of(prediction: Prediction) -> CheckpointKind:
    return MODELS[prediction.model].checkpoint


def _turns(kind: CheckpointKind) -> str:
    return f"klein:turns:{kind}"


def _line(kind: CheckpointKind, key_id: str) -> str:
    return f"klein:line:{kind}:{key_id}"

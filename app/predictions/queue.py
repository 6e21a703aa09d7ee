"""The queue: RQ carries tokens that say "look at prediction P" and nothing else.

RQ may lose, repeat or resurrect a token; the record decides what happens (see ARCHITECTURE.md). A token can call
one function only, whatever is written in Redis.
"""

from collections.abc import Callable
from typing import Any

import redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from app.predictions.catalog import MODELS, CheckpointKind
from app.predictions.prediction import Prediction

JOB = "worker.generate.generate"
KEEP_S = 60  # how long RQ keeps a token that has been worked on
NO_TIMEOUT = -1  # deadlines are the worker's own: an alarm cannot stop a stuck kernel


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

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Send nothing: klein's own courier signs and retries."""


class Queues:
    """One RQ queue for each kind of checkpoint that a worker can hold."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._queues = {kind: open_queue(kind, connection) for kind in CheckpointKind}

    def push(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Add the prediction's newest token to a fresh pipeline, before anything else."""
        queue = self._of(prediction)
        token = Token.create(
            JOB,
            (prediction.id,),
            id=prediction.token_id,
            connection=queue.connection,
            serializer=JSONSerializer,
            timeout=NO_TIMEOUT,
            result_ttl=0,
            failure_ttl=KEEP_S,
            description=prediction.id,
        )
        queue.enqueue_job(token, pipeline=pipe)

    def remove(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Add the removal of the newest token to a pipeline."""
        pipe.lrem(self._of(prediction).key, 0, prediction.token_id)
        pipe.delete(Token.key_for(prediction.token_id))

    def waiting(self, prediction: Prediction) -> int:
        """Count the tokens in the queue that this prediction's are in."""
        return self._of(prediction).count

    def holds(self, prediction: Prediction) -> bool:
        """Say whether the newest token still waits in its queue."""
        return self._of(prediction).get_job_position(prediction.token_id) is not None

    def length(self, kind: CheckpointKind) -> int:
        """Count the tokens that wait for workers of one kind."""
        return self._queues[kind].count

    def oldest(self, kind: CheckpointKind) -> str | None:
        """Give the id of the prediction that is next in line."""
        tokens = self._queues[kind].get_job_ids(offset=0, length=1)
        return tokens[0].rpartition("-")[0] if tokens else None

    def _of(self, prediction: Prediction) -> Queue:
        return self._queues[MODELS[prediction.model].checkpoint]


def open_queue(kind: CheckpointKind, connection: "redis.Redis") -> Queue:
    """Open the queue that workers holding this kind of checkpoint listen to."""
    return Queue(f"klein-{kind}", connection=connection, serializer=JSONSerializer, job_class=Token)

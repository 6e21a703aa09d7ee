"""Takes tokens from RQ's queues: each one runs the next prediction of its checkpoint kind."""

import signal
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, cast

import redis
from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.worker import WorkerStatus

from app.logs import log
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import TOKEN, queue_name
from worker.graceful_shutdown import GracefulShutdown
from worker.job.model_turns import ModelTurns, always_loaded
from worker.job.token import run_next

WORKER_TTL_S = 30
HEARTBEAT = timedelta(seconds=10)  # well within the 90 s after which RQ forgets the worker
RECONNECT_S = 1.0
MIN_LOOK_S = 0.01  # Redis takes less for no limit


class TokenQueue(Queue):
    """A queue of tokens. A token has no data: whatever a job of its id holds is neither read nor called."""

    def __init__(self, kind: CheckpointKind, turns: ModelTurns, connection: "redis.Redis") -> None:
        """Open the queue of a checkpoint kind. `turns` are those of all queues of the worker."""
        super().__init__(queue_name(kind), connection=connection)
        self.kind = kind
        self.turns = turns
        self.token = Job(TOKEN, connection=connection)

    @classmethod
    def dequeue_any(  # type: ignore[override]  # the classes of jobs are this one's business
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: "redis.Redis",
        **_classes: Any,
    ) -> tuple[Job, Queue] | None:
        """Take a token. RQ would move it to a second list, read its job and delete both."""
        token_queues = {q.key: q for q in queues if isinstance(q, TokenQueue)}
        popped = (
            cls.lpop(list(token_queues), None, connection=connection)
            if timeout is None
            else cls._await_token(list(token_queues.values()), timeout, connection)
        )
        if popped is None:
            return None
        key, token = popped[0], popped[1].decode(errors="replace")
        queue = token_queues[key]
        queue.turns.note_use(queue.kind)
        if token != TOKEN:  # of klein 0.1
            connection.delete(Job.key_for(token))
        return queue.token, queue

    @classmethod
    def _await_token(
        cls, queues: "list[TokenQueue]", timeout_s: int, connection: "redis.Redis"
    ) -> tuple[str, bytes]:
        """Wait for a token of the kinds whose turn it is. Raises DequeueTimeout.

        A worker whose model is not loaded leaves a token for a while to those that have it loaded. Redis gives a token
        to the worker that has waited longest, which would be one that is asleep.
        """
        turns, keys = queues[0].turns, {queue.kind: queue.key for queue in queues}
        ends = time.monotonic() + timeout_s
        while (left_s := ends - time.monotonic()) > 0:
            tokens = {q.kind: q.count for q in queues if not turns.is_loaded(q.kind)}
            order = turns.order(keys, tokens)
            look_s = max(MIN_LOOK_S, min(left_s, turns.patience_s) if tokens else left_s)
            if not order:
                time.sleep(look_s)
                continue
            popped = connection.blpop([keys[kind] for kind in order], look_s)
            if popped is not None:
                key, token = cast("tuple[bytes, bytes]", popped)
                return key.decode(), token
        raise DequeueTimeout(timeout_s, list(keys.values()))


class QueueWorker(SimpleWorker):
    """Runs tokens in this process, without RQ's records of results, retries and states, which a token does not need."""

    queue_class = TokenQueue  # type: ignore[assignment]  # RQ takes tokens by it, and creates none
    should_run_maintenance_tasks = False  # of those records
    graceful_shutdown: GracefulShutdown | None = None  # None means signals are left alone

    def dequeue_job_and_maintain_ttl(
        self,
        timeout: int | None,
        max_idle_time: int | None = None,  # noqa: ARG002 -- as RQ calls it
    ) -> tuple[Job, Queue] | None:
        """Wait for a token. RQ would also rename the process and prepare log lines, for each one.

        RQ doubles its pause between two attempts to reach Redis until it is a minute.
        """
        while True:
            try:
                self.heartbeat()
                return TokenQueue.dequeue_any(self.queues, timeout, self.connection)
            except DequeueTimeout:
                continue  # with a heartbeat
            except (redis.ConnectionError, redis.TimeoutError) as exc:
                log.warning("redis_unavailable", error=str(exc))
                time.sleep(RECONNECT_S)

    def execute_job(self, job: Job, queue: Queue) -> None:  # noqa: ARG002 -- as RQ calls it
        """Run the next prediction of the queue. A failure is logged: the record of the prediction decides what follows."""
        self.set_state(WorkerStatus.BUSY)
        try:
            run_next(cast("TokenQueue", queue).kind)
        except redis.RedisError:
            raise  # `worker.main` starts the queue worker again
        except Exception:  # noqa: BLE001 -- around a job: logged
            log.exception("token_failed")
        finally:
            self.set_state(WorkerStatus.IDLE)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:  # noqa: ARG002 -- as RQ calls it
        """Remember the state for the signal handler. RQ's copy in Redis costs a synced write twice a token."""
        self._state = state

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Send RQ's heartbeat at most every ten seconds. RQ sends three a job, with three synced writes each."""
        last = self.last_heartbeat
        if pipeline is not None or last is None or datetime.now(UTC) - last > HEARTBEAT:
            super().heartbeat(timeout, pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        """Ask nothing: klein does not suspend workers. RQ asks before each token."""

    def _install_signal_handlers(self) -> None:
        shutdown = self.graceful_shutdown
        if shutdown is None:
            return
        self._stop_requested = shutdown.is_requested  # while it registered

        def stop(_number: int, _frame: FrameType | None) -> None:
            """Take no more tokens. `GracefulShutdown` decides what happens to running attempts."""
            is_first = shutdown.request()
            self._stop_requested = True
            if is_first and self.get_state() != WorkerStatus.BUSY:
                raise StopRequested  # ends the wait for a token

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)


def open_worker(
    connection: "redis.Redis",
    name: str,
    kinds: Sequence[CheckpointKind],
    shutdown: GracefulShutdown | None = None,
    turns: ModelTurns | None = None,
) -> QueueWorker:
    """Open a queue worker of these checkpoint kinds. Without `shutdown` it leaves signals alone."""
    turns = turns or always_loaded()
    worker = QueueWorker(
        [TokenQueue(kind, turns, connection) for kind in kinds],
        name=name,
        connection=connection,
        worker_ttl=WORKER_TTL_S,
        log_job_description=False,
    )
    worker.graceful_shutdown = shutdown
    return worker

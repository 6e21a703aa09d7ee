"""Takes tokens from RQ's queue: each one runs the next prediction."""

import signal
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

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
from worker.job.token import run_next

WORKER_TTL_S = 30
HEARTBEAT = timedelta(seconds=1)
PATIENCE_S = 1.0
"""How long a worker that is asleep leaves a token to those whose engine is loaded."""


class TokenQueue(Queue):
    """A queue of tokens. A token has no data: whatever a job of its id holds is neither read nor called."""

    is_asleep: Callable[[], bool] = staticmethod(lambda: False)
    patience_s = PATIENCE_S

    @classmethod
    def dequeue_any(  # type: ignore[override]  # the classes of jobs are this one's business
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: "redis.Redis",
        **_classes: Any,
    ) -> tuple[Job, Queue] | None:
        """Take a token. RQ would move it to a second list, read its job and delete both."""
        (queue,) = queues
        if isinstance(queue, TokenQueue) and queue.is_asleep() and timeout is not None:
            queue.await_leftover(timeout)
        popped = cls.lpop([queue.key], timeout, connection=connection)
        if popped is None:
            return None
        token = popped[1].decode(errors="replace")
        if token != TOKEN:  # of klein 0.1
            connection.delete(Job.key_for(token))
        return Job(TOKEN, connection=connection), queue

    def await_leftover(self, timeout_s: int) -> None:
        """Wait until no other worker takes the tokens for a while, or this one is loaded. Raises DequeueTimeout.

        Redis gives a token to the worker that has waited longest, which would be one that is asleep.
        """
        ends = time.monotonic() + timeout_s
        was_left = False
        while self.is_asleep():
            is_left = bool(self.count)
            if was_left and is_left:
                return
            was_left = is_left
            if time.monotonic() > ends:
                raise DequeueTimeout(timeout_s, [self.key])
            time.sleep(self.patience_s)


class QueueWorker(SimpleWorker):
    """Runs tokens in this process, without RQ's records of results, retries and states, which a token does not need."""

    queue_class = TokenQueue
    should_run_maintenance_tasks = False  # of those records
    graceful_shutdown: GracefulShutdown | None = None  # None: signals are left alone

    def execute_job(self, job: Job, queue: Queue) -> None:  # noqa: ARG002 -- as RQ calls it
        """Run the next prediction. A failure is logged: the record of the prediction decides what follows."""
        self.set_state(WorkerStatus.BUSY)
        try:
            run_next()
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
        """Send RQ's heartbeat at most once a second. RQ sends three a job, with three synced writes each."""
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
    kind: CheckpointKind,
    shutdown: GracefulShutdown | None = None,
    is_asleep: Callable[[], bool] = lambda: False,
) -> QueueWorker:
    """Open a queue worker of one checkpoint kind; without `shutdown` it leaves signals alone."""
    queue = TokenQueue(queue_name(kind), connection=connection)
    queue.is_asleep = is_asleep
    worker = QueueWorker(
        [queue],
        name=name,
        connection=connection,
        worker_ttl=WORKER_TTL_S,
        log_job_description=False,
    )
    worker.graceful_shutdown = shutdown
    return worker

"""Wires the worker process: `python -m worker.main`."""

import os
import secrets
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import redis
from redis.client import Pipeline
from rq import SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from app.connections import open_redis
from app.logs import configure_logs, log
from app.metrics import serve_metrics
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import Queues, Token, open_queue
from app.predictions.store import Store
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.settings import Settings
from app.storage import open_storage
from app.tracing import configure_tracing
from worker.engine_client.client import EngineClient
from worker.engine_client.process import EngineDied
from worker.engine_client.supervisor import EngineSupervisor
from worker.engines import Checkpoint, Tuning, WeightsError
from worker.engines.tuning import Compile, Quantization
from worker.gpu_metrics import register_gpu_metrics
from worker.graceful_shutdown import GracefulShutdown
from worker.job.batching import BatchFinder
from worker.job.credentials import open_credentials
from worker.job.generator import Generator
from worker.job.leases import Leases
from worker.job.publisher import BACKLOG, Publisher
from worker.job.token import installed
from worker.weights.integrity import verify_checksums
from worker.weights.locate import locate_weights

BUILT_IN = Path(__file__).parent / "weights" / "builtin"
RECONNECT_S = 1.0
WORKER_TTL_S = 30
HEARTBEAT = timedelta(seconds=1)


class QueueWorker(SimpleWorker):
    """Runs RQ jobs in this process. `GracefulShutdown` handles its signals."""

    graceful_shutdown: GracefulShutdown

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Take no more tokens. `GracefulShutdown` decides what happens to running attempts."""
        self.graceful_shutdown.request()
        self._stop_requested = True
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested  # ends the wait for a token

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Send RQ's heartbeat at most once a second. RQ sends three a job, with three synced writes each."""
        last = self.last_heartbeat
        if pipeline is not None or last is None or datetime.now(UTC) - last > HEARTBEAT:
            super().heartbeat(timeout, pipeline)


def run_worker(settings: Settings, engine: str = "worker.engine_process.main") -> None:
    """Load the model, then run predictions until told to stop. `engine` is the module of the engine process."""
    register_gpu_metrics()
    credentials = open_credentials(settings.c2pa_cert, settings.c2pa_key)
    connection = open_redis(settings.redis)
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention)
    storage = open_storage(settings.storage)
    weights = locate_weights(settings.weights) if settings.weights else BUILT_IN
    client = EngineClient(
        weights,
        loras=settings.loras,
        tuning=_tuning(settings),
        environ=_engine_environ(settings),
        module=engine,
    )
    leases = Leases(store, WorkerRegistry(connection))
    publisher = Publisher(store, storage, leases, credentials, backlog=BACKLOG * settings.batch)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"

    def announce(checkpoint: Checkpoint | None) -> None:
        leases.announce(None if checkpoint is None else _announcement(name, checkpoint))

    supervisor = EngineSupervisor(
        client, announce, stop_worker=lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    generator = Generator(
        store,
        storage,
        client,
        leases,
        publisher,
        supervisor.ensure_running,
        supervisor.recycle_if_due,
    )

    def begin_shutdown() -> None:
        supervisor.stop()
        leases.announce(None)

    def release_all() -> None:
        generator.release_all()
        client.kill()

    shutdown = GracefulShutdown(
        settings.grace, lambda: client.remaining_s, begin_shutdown, release_all
    )
    signal.signal(signal.SIGTERM, _exit)
    leases.start()
    with client:
        try:
            # while the engine loads, and before the worker registers
            verify_checksums(weights)
            checkpoint = supervisor.start()
            kind = checkpoint.kind
            batches = BatchFinder(store, queues, checkpoint)
            with installed(generator, lambda: queues.take(kind), batches.find_batch_mates):
                _work(open_redis(settings.redis, timeout_s=WORKER_TTL_S), name, kind, shutdown)
            generator.wait()
        finally:
            supervisor.stop()
            generator.release_all()
            publisher.close(within_s=settings.grace.total_seconds() / 2)
            leases.close()


def _work(
    connection: "redis.Redis", name: str, kind: CheckpointKind, shutdown: GracefulShutdown
) -> None:
    """Take tokens until told to stop. Start RQ's worker again when an outage of Redis ended it."""
    while not shutdown.is_requested:
        try:
            worker = QueueWorker(
                [open_queue(kind, connection)],
                name=f"{name}-{secrets.token_hex(2)}",  # RQ refuses the name of a worker that died
                connection=connection,
                job_class=Token,
                serializer=JSONSerializer,
                worker_ttl=WORKER_TTL_S,
                log_job_description=False,
            )
            worker.graceful_shutdown = shutdown
            worker.work(logging_level="WARNING")
            if not shutdown.is_requested:
                time.sleep(RECONNECT_S)
        except redis.RedisError as exc:
            log.warning("redis_unavailable", error=str(exc))
            time.sleep(RECONNECT_S)
        except StopRequested:  # the signal came between two RQ workers
            return


def main() -> None:
    """Run the worker with the settings of the environment."""
    configure_logs("worker")
    try:
        settings = Settings()
        configure_tracing("worker", settings.otlp_endpoint)
        serve_metrics(settings.host, settings.metrics_port)
        run_worker(settings)
    except (WeightsError, EngineDied, ValueError) as exc:
        raise SystemExit(f"klein worker: {exc}") from None
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _tuning(settings: Settings) -> Tuning:
    sizes = (size.split("x") for size in settings.warm_sizes)
    return Tuning(
        quantization=Quantization(settings.quantization),
        compile=Compile(settings.compile),
        warm_sizes=tuple((int(width), int(height)) for width, height in sizes),
        safety_checker=settings.safety_checker.absolute() if settings.safety_checker else None,
        batch=settings.batch,
    )


def _engine_environ(settings: Settings) -> dict[str, str]:
    """Add a cache folder for compiled code, unless the environment names one."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(settings.data.resolve() / "compiled"), **os.environ}


def _announcement(name: str, checkpoint: Checkpoint) -> Worker:
    return Worker(
        name=name,
        checkpoint=checkpoint.kind,
        weights=checkpoint.description,
        revision=checkpoint.revision,
        seen_at=0,  # set when it is announced
    )


def _exit(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()

"""Wires the worker process: `python -m worker.main`."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from math import inf
from pathlib import Path

import redis
from rq.exceptions import StopRequested

from app.connections import open_redis
from app.logs import configure_logs, log
from app.metrics import serve_metrics
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import Queues
from app.predictions.store import Store
from app.predictions.worker_registry import Worker, WorkerRegistry, WorkerState
from app.private_files import PRIVATE
from app.redis_requirements import require_redis
from app.settings import Settings
from app.storage import Storage, open_storage
from app.storage.time_limit import TimeLimitedStorage
from app.tracing import configure_tracing, flush_traces
from worker.engine_client.canary import Canary
from worker.engine_client.client import EngineClient
from worker.engine_client.idleness import IdleTimer
from worker.engine_client.loading import LoadingPhase
from worker.engine_client.process import EngineDied
from worker.engine_client.supervisor import EngineSupervisor
from worker.engines import Checkpoint, Tuning, WeightsError
from worker.engines.tensor_names import Component
from worker.engines.tuning import Compile, DeviceChoice, Quantization
from worker.gpu_metrics import register_gpu_metrics
from worker.graceful_shutdown import GracefulShutdown
from worker.job.batching import BatchFinder
from worker.job.credentials import open_credentials
from worker.job.generator import Generator
from worker.job.leases import Leases
from worker.job.lora_files import LoraFiles
from worker.job.publisher import BACKLOG, Publisher
from worker.job.queue_worker import WORKER_TTL_S, open_worker
from worker.job.token import provide_dependencies
from worker.weights.integrity import verify_checksums
from worker.weights.locate import locate_components, locate_weights

BUILT_IN = Path(__file__).parent / "weights" / "builtin"
RECONNECT_S = 1.0


def run_worker(
    settings: Settings, storage: Storage, engine: str = "worker.engine_process.main"
) -> None:
    """Load the model, run predictions until told to stop, and end the process. `engine` is the module of the engine process."""
    signal.signal(signal.SIGTERM, lambda *_: _exit())  # until the graceful shutdown is ready
    register_gpu_metrics()
    credentials = open_credentials(settings.c2pa_cert, settings.c2pa_key)
    connection = open_redis(settings.redis)
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention, timedelta(days=settings.usage_days))
    components = locate_components(
        {
            Component.TRANSFORMER: settings.transformer,
            Component.TEXT_ENCODER: settings.text_encoder,
            Component.VAE: settings.vae,
        }
    )
    weights = (
        locate_weights(settings.weights, replaced=components) if settings.weights else BUILT_IN
    )
    client = EngineClient(
        weights,
        loras=settings.loras or (settings.data / "no-loras" if settings.lora_sources else None),
        tuning=_tuning(settings, components),
        environ=_engine_environ(settings),
        module=engine,
    )
    leases = Leases(store, WorkerRegistry(connection))
    publisher = Publisher(store, storage, leases, credentials, backlog=BACKLOG * settings.batch)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"

    supervisor = _supervise(client, leases, name, settings, lambda: generator)
    generator = Generator(
        store,
        storage,
        client,
        leases,
        publisher,
        supervisor.ensure_running,
        supervisor.recycle_if_due,
        lora_files=LoraFiles(
            storage, settings.data.resolve() / "loras-of-storage", settings.lora_cache_bytes
        ),
    )

    def begin_shutdown() -> None:
        supervisor.stop()
        leases.announce(None)

    def release_attempts() -> None:
        generator.release_all()
        client.close()

    shutdown = GracefulShutdown(
        settings.grace,
        # nothing can finish on an engine that is dead or loads
        remaining_s=lambda: client.remaining_s if client.is_ready else inf,
        begin=begin_shutdown,
        release_attempts=release_attempts,
        release_leases=leases.release_all,
        exit_process=lambda: _exit(1 if supervisor.failure else 0),
    )

    def stop_loading(*_: object) -> None:
        if shutdown.request():
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_loading)
    leases.start(supervisor.request, lambda: client.image_age_s)
    code = 0
    with client:
        try:
            # while the engine loads, and before the worker registers
            verify_checksums(weights, *components.values())
            checkpoint = supervisor.start()
            kind = checkpoint.kind
            batches = BatchFinder(store, queues, checkpoint)
            with provide_dependencies(
                generator, lambda: store.take_next(kind), batches.find_batch_mates
            ):
                token_connection = open_redis(settings.redis, timeout_s=WORKER_TTL_S)
                _work(token_connection, name, kind, shutdown, lambda: supervisor.is_asleep)
            generator.wait()
        except SystemExit as exc:  # a signal while the engine loads, or a crash loop
            code = exc.code if isinstance(exc.code, int) else 1
        finally:
            if not shutdown.is_requested:
                shutdown.request()  # whatever ended the work: the deadline limits what follows
            supervisor.stop()
            generator.release_all()
            publisher.close()
            leases.close()
    _end(1 if supervisor.failure else code)


def _work(
    connection: "redis.Redis",
    name: str,
    kind: CheckpointKind,
    shutdown: GracefulShutdown,
    is_asleep: Callable[[], bool],
) -> None:
    """Take tokens until told to stop. Start RQ's worker again when an outage of Redis ended it."""
    with suppress(StopRequested):  # the signal came between two RQ workers
        while not shutdown.is_requested:
            try:
                worker = open_worker(
                    connection,
                    f"{name}-{secrets.token_hex(2)}",  # RQ refuses the name of a worker that died
                    kind,
                    shutdown,
                    is_asleep,
                )
                worker.work(logging_level="WARNING")
                if not shutdown.is_requested:
                    time.sleep(RECONNECT_S)
            except redis.RedisError as exc:
                log.warning("redis_unavailable", error=str(exc))
                time.sleep(RECONNECT_S)


def main() -> None:
    """Run the worker with the settings of the environment."""
    try:
        settings = Settings()
        os.umask(PRIVATE)
        configure_logs("worker", settings.log_format)
        configure_tracing("worker", settings.otlp_endpoint)
        serve_metrics(settings.host, settings.metrics_port)
        require_redis(
            settings.redis, settings.redis_shown, is_volatile_allowed=settings.allow_volatile_redis
        )
        run_worker(settings, TimeLimitedStorage(open_storage(settings.storage)))
    except (WeightsError, EngineDied, ValueError) as exc:
        raise SystemExit(f"klein worker: {exc}") from None
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _supervise(
    client: EngineClient,
    leases: Leases,
    name: str,
    settings: Settings,
    generator: Callable[[], Generator],
) -> EngineSupervisor:
    """Supervise the engine of a worker. `generator` returns the one that is created after the supervisor."""

    def announce(checkpoint: Checkpoint | None, state: WorkerState) -> None:
        if checkpoint is None:
            leases.announce(None, supervisor.departure)
        else:
            announcement = _announcement(name, checkpoint, settings)
            leases.announce(replace(announcement, state=state, start_s=client.start_s))

    def show_loading(phase: LoadingPhase) -> None:
        generator().show_start(phase, client.start_left)

    idle_unload_s = settings.idle_unload.total_seconds() if settings.idle_unload else None
    supervisor = EngineSupervisor(
        client,
        announce,
        stop_worker=lambda: os.kill(os.getpid(), signal.SIGTERM),
        is_idle=lambda: generator().is_idle,
        on_loading=show_loading,
        idle_timer=IdleTimer(idle_unload_s),
        canary=Canary(settings.canary_interval.total_seconds() or None),
    )
    return supervisor


def _tuning(settings: Settings, components: dict[Component, Path]) -> Tuning:
    sizes = (size.split("x") for size in settings.warm_sizes)
    return Tuning(
        device=DeviceChoice(settings.device),
        quantization=Quantization(settings.quantization),
        text_encoder_quantization=Quantization(settings.text_encoder_quantization),
        compile=Compile(settings.compile),
        warm_sizes=tuple((int(width), int(height)) for width, height in sizes),
        safety_checker=settings.safety_checker.absolute() if settings.safety_checker else None,
        batch=settings.batch,
        transformer=components.get(Component.TRANSFORMER),
        text_encoder=components.get(Component.TEXT_ENCODER),
        vae=components.get(Component.VAE),
    )


def _engine_environ(settings: Settings) -> dict[str, str]:
    """Add a cache folder for compiled code, unless the environment names one."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(settings.data.resolve() / "compiled"), **os.environ}


def _announcement(name: str, checkpoint: Checkpoint, settings: Settings) -> Worker:
    return Worker(
        name=name,
        checkpoint=checkpoint.kind,
        weights=checkpoint.description or checkpoint.name,
        revision=checkpoint.revision,
        seen_at=0,  # set when it is announced
        transformer=checkpoint.transformer,
        has_lora_folder=settings.loras is not None,
    )


def _exit(code: int = 0) -> None:
    """End the process without waiting for any of its threads. Its engine process ends with it."""
    os._exit(code)


def _end(code: int) -> None:
    """End the process after its work, without the interpreter's clean-up, which has no time limit."""
    flush_traces()
    _exit(code)


if __name__ == "__main__":
    main()

"""Wires the worker process: `python -m worker.main`."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import redis
from rq.exceptions import StopRequested

from app.garbage import collect_as_usual
from app.logs import configure_logs, log
from app.metrics import serve_metrics
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import Queues
from app.predictions.store import Store
from app.predictions.worker_registry import WorkerRegistry
from app.private_files import PRIVATE
from app.redis_requirements import require_redis
from app.settings import Settings
from app.storage import Storage, open_storage
from app.storage.time_limit import TimeLimitedStorage
from app.tracing import configure_tracing, flush_traces
from worker.engine_client.process import EngineDied
from worker.engines import Tuning, WeightsError
from worker.engines.tensor_names import Component
from worker.engines.tuning import Compile, DeviceChoice, Quantization
from worker.gpu_metrics import register_gpu_metrics
from worker.graceful_shutdown import GracefulShutdown
from worker.job.attempt_records import AttemptRecords
from worker.job.batching import BatchFinder
from worker.job.credentials import open_credentials
from worker.job.generator import Generator
from worker.job.input_files import InputFiles
from worker.job.leases import Leases
from worker.job.lora_files import LoraFiles
from worker.job.model_turns import ModelTurns
from worker.job.publisher import BACKLOG, Publisher
from worker.job.queue_worker import RECONNECT_S, WORKER_TTL_S, open_worker
from worker.job.registration import Registrations
from worker.job.token import provide_dependencies
from worker.models import ModelOptions, Models
from worker.thread_connections import ThreadConnections
from worker.weights.locate import locate_components


def run_worker(
    settings: Settings, storage: Storage, engine: str = "worker.engine_process.main"
) -> None:
    """Load the model, run predictions until told to stop, and end the process. `engine` is the module of the engine process."""
    signal.signal(signal.SIGTERM, lambda *_: _exit())  # until the graceful shutdown is ready
    register_gpu_metrics()
    credentials = open_credentials(settings.c2pa_cert, settings.c2pa_key)
    connection = ThreadConnections(settings.redis)
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention, timedelta(days=settings.usage_days))
    registrations = Registrations(WorkerRegistry(connection, store.clock), is_held=True)
    leases = Leases(store, on_beat=registrations.beat)
    publisher = Publisher(store, storage, leases, credentials, backlog=BACKLOG * settings.batch)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    options = _model_options(settings)
    models = Models(
        options,
        name,
        registrations,
        generator=lambda: generator,
        stop_worker=lambda: os.kill(os.getpid(), signal.SIGTERM),
        module=engine,
    )
    lora_files = LoraFiles(
        storage, settings.data.resolve() / "loras-of-storage", settings.lora_cache_bytes
    )
    generator = Generator(
        AttemptRecords(store),
        InputFiles(storage, lora_files),
        models.pool.use,
        leases,
        publisher,
    )

    def begin_shutdown() -> None:
        models.stop()
        registrations.leave()

    def release_attempts() -> None:
        generator.release_all()
        models.close()

    shutdown = GracefulShutdown(
        settings.grace,
        remaining_s=lambda: models.remaining_s,
        begin=begin_shutdown,
        release_attempts=release_attempts,
        release_leases=leases.release_all,
        exit_process=lambda: _exit(1 if models.failure else 0),
    )

    def stop_loading(*_: object) -> None:
        if shutdown.request():
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_loading)
    leases.start()
    collect_as_usual()
    code = 0
    with models:
        try:
            models.start()
            turns = ModelTurns(models.pool.loaded_since, options.turn_s)
            batches = BatchFinder(store, queues, models.checkpoints)
            with provide_dependencies(generator, store.take_next, batches.find_batch_mates):
                token_connection = ThreadConnections(settings.redis, timeout_s=WORKER_TTL_S)
                _work(token_connection, name, models.kinds, shutdown, turns)
            generator.wait()
        except SystemExit as exc:  # a signal while the engine loads, or a crash loop
            code = exc.code if isinstance(exc.code, int) else 1
        finally:
            if not shutdown.is_requested:
                shutdown.request()  # whatever ended the work: the deadline limits what follows
            models.stop()
            generator.release_all()
            publisher.close()
            leases.close()
            registrations.leave()
    _end(1 if models.failure else code)


def _work(
    connection: ThreadConnections,
    name: str,
    kinds: Sequence[CheckpointKind],
    shutdown: GracefulShutdown,
    turns: ModelTurns,
) -> None:
    """Take tokens until told to stop. Start RQ's worker again after an outage of Redis."""
    with suppress(StopRequested):  # the signal came between two RQ workers
        while not shutdown.is_requested:
            try:
                worker = open_worker(
                    connection,
                    f"{name}-{secrets.token_hex(2)}",  # RQ refuses the name of a worker that died
                    kinds,
                    shutdown,
                    turns,
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


def _model_options(settings: Settings) -> ModelOptions:
    """Return what the settings say about the models. Downloads components that are missing. Raises `WeightsError`."""
    components = locate_components(
        {
            Component.TRANSFORMER: settings.transformer,
            Component.TEXT_ENCODER: settings.text_encoder,
            Component.VAE: settings.vae,
        }
    )
    no_loras = settings.data / "no-loras" if settings.lora_sources else None
    return ModelOptions(
        weights=settings.weights,
        components=components,
        tuning=_tuning(settings, components),
        loras=settings.loras or no_loras,
        has_lora_folder=settings.loras is not None,
        environ=_engine_environ(settings),
        idle_unload_s=settings.idle_unload.total_seconds() if settings.idle_unload else None,
        canary_interval_s=settings.canary_interval.total_seconds() or None,
        turn_s=settings.model_turn.total_seconds(),
        memory_bytes=settings.model_memory_bytes,
    )


def _tuning(settings: Settings, components: Mapping[Component, Path]) -> Tuning:
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


def _exit(code: int = 0) -> None:
    """End the process without waiting for any of its threads. Its engine process ends with it."""
    os._exit(code)


def _end(code: int) -> None:
    """End the process after its work, without the interpreter's clean-up, which has no time limit."""
    flush_traces()
    _exit(code)


if __name__ == "__main__":
    main()

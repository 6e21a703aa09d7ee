"""Opens the models of a worker: an engine client and a supervisor for each checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.worker_registry import Worker, WorkerState
from worker.engine_client.canary import Canary
from worker.engine_client.client import EngineClient
from worker.engine_client.idleness import IdleTimer
from worker.engine_client.loading import LoadingPhase
from worker.engine_client.pool import EnginePool, PooledEngine
from worker.engine_client.supervisor import EngineSupervisor
from worker.engines import Checkpoint, Tuning, WeightsError
from worker.engines.folder import inspect_folder
from worker.engines.tensor_names import Component
from worker.job.generator import Generator
from worker.job.registration import Registration, Registrations
from worker.weights.integrity import verify_checksums
from worker.weights.locate import BUILT_IN, locate_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What the settings say about the models of a worker."""

    weights: tuple[str, ...]
    """Names of checkpoints. Empty means the built-in model."""
    components: Mapping[Component, Path]
    """Files and folders that replace components of the only checkpoint."""
    tuning: Tuning
    loras: Path | None
    has_lora_folder: bool
    environ: Mapping[str, str]
    idle_unload_s: float | None
    canary_interval_s: float | None
    turn_s: float
    memory_bytes: int | None


def locate_models(options: ModelOptions) -> dict[Path, int]:
    """Return the files or folders of the checkpoints with the size of their weights, 0 for a single one.

    Downloads what is missing. Raises `WeightsError`, also for two checkpoints of one kind.
    """
    settings = options.weights
    paths = [locate_weights(setting, replaced=options.components) for setting in settings]
    if len(paths) < 2:  # noqa: PLR2004 -- nothing to compare
        return dict.fromkeys(paths or [BUILT_IN], 0)
    folders = [inspect_folder(path) for path in paths]
    first_of: dict[CheckpointKind, str] = {}
    for setting, folder in zip(settings, folders, strict=True):
        if folder.kind in first_of:
            raise WeightsError(
                f"KLEIN_WEIGHTS: {first_of[folder.kind]} and {setting} are both {folder.kind} checkpoints. "
                "A worker serves one of each kind; start another worker for the other one"
            )
        first_of[folder.kind] = setting
    return {path: folder.size_bytes for path, folder in zip(paths, folders, strict=True)}


class Models:
    """The models that a worker serves."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        options: ModelOptions,
        name: str,
        registrations: Registrations,
        generator: Callable[[], Generator],
        stop_worker: Callable[[], None],
        module: str,
    ) -> None:
        """Locate the weights. `generator` returns the one that is created later. `module` is that of the engine processes."""
        self._options = options
        self._name = name
        self._registrations = registrations
        self._generator = generator
        self._stop_worker = stop_worker
        self._weights = locate_models(options)
        self.pool = EnginePool(options.memory_bytes)
        self._engines = [self._open(path, size, module) for path, size in self._weights.items()]
        for engine in self._engines:
            self.pool.add(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def kinds(self) -> tuple[CheckpointKind, ...]:
        """The checkpoint kinds, in the order of the settings. Known after `start`."""
        return tuple(checkpoint.kind for checkpoint in self.checkpoints)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints, in the order of the settings. Known after `start`."""
        checkpoints = (engine.supervisor.checkpoint for engine in self._engines)
        return tuple(checkpoint for checkpoint in checkpoints if checkpoint is not None)

    @property
    def failure(self) -> str | None:
        """Why the worker must end, if it must."""
        return next((e.supervisor.failure for e in self._engines if e.supervisor.failure), None)

    @property
    def remaining_s(self) -> float | None:
        """Estimated time until the running batch ends. None means unknown. Infinite if no engine runs one or could."""
        busy = [e.client for e in self._engines if e.client.is_busy]
        if busy:
            return busy[0].remaining_s if busy[0].is_ready else float("inf")
        return None if any(e.client.is_ready for e in self._engines) else float("inf")

    def start(self) -> None:
        """Load each model once, the first one last so that it stays loaded, and announce them. Raises what a start raises.

        This checks all weights before the worker takes work, and measures how long each start takes.
        """
        first = self._engines[-1]
        first.client.start()  # it loads while the files are read
        verify_checksums(*self._weights, *self._options.components.values())
        for engine in reversed(self._engines):
            engine.supervisor.start()
        self._registrations.release()

    def stop(self) -> None:
        """Restart and load no engine any more."""
        for engine in self._engines:
            engine.supervisor.stop()

    def close(self) -> None:
        """Kill the engine processes."""
        for engine in self._engines:
            engine.client.close()

    def _open(self, weights: Path, size_bytes: int, module: str) -> PooledEngine:
        client = EngineClient(
            weights,
            loras=self._options.loras,
            tuning=self._options.tuning,
            environ=self._options.environ,
            module=module,
        )
        supervisor = self._supervise(client)
        return PooledEngine(client=client, supervisor=supervisor, weights_bytes=size_bytes)

    def _supervise(self, client: EngineClient) -> EngineSupervisor:
        def announce(checkpoint: Checkpoint | None, state: WorkerState) -> None:
            self._announce(registration, client, supervisor, checkpoint, state)

        def is_idle() -> bool:
            checkpoint = supervisor.checkpoint
            return checkpoint is None or not self._generator().has_work(checkpoint.kind)

        def show_loading(phase: LoadingPhase) -> None:
            self._generator().show_start(phase, client.start_left)

        supervisor = EngineSupervisor(
            client,
            announce,
            stop_worker=self._stop_worker,
            is_idle=is_idle,
            is_worker_idle=lambda: self._generator().is_idle,
            neighbours=self.pool,
            on_loading=show_loading,
            idle_timer=IdleTimer(self._options.idle_unload_s),
            canary=Canary(self._options.canary_interval_s),
        )
        registration = self._registrations.add(supervisor.request, lambda: client.image_age_s)
        return supervisor

    def _announce(
        self,
        registration: Registration,
        client: EngineClient,
        supervisor: EngineSupervisor,
        checkpoint: Checkpoint | None,
        state: WorkerState,
    ) -> None:
        if checkpoint is None:
            registration.announce(None, supervisor.departure)
            return
        is_one_of_several = len(self._engines) > 1
        entry = Worker(
            name=f"{self._name}-{checkpoint.kind}" if is_one_of_several else self._name,
            checkpoint=checkpoint.kind,
            weights=checkpoint.label,
            revision=checkpoint.revision,
            seen_at=0,  # set when it is announced
            transformer=checkpoint.transformer,
            has_lora_folder=self._options.has_lora_folder,
            state=state,
            start_s=client.start_s,
        )
        if is_one_of_several:
            entry = replace(entry, process=self._name, turn_s=self._options.turn_s)
        registration.announce(entry)

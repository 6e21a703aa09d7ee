"""Holds the engines of a worker, one for each of its checkpoints, and decides which are loaded together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.logs import log
from app.predictions.checkpoint_kind import CheckpointKind
from worker.engine_client.client import EngineClient
from worker.engine_client.supervisor import EngineSupervisor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledEngine:
    """One engine of a worker."""

    client: EngineClient
    supervisor: EngineSupervisor
    weights_bytes: int = 0
    """Size of its weights. 0 means unknown, and not needed, as it is the only one."""

    @property
    def kind(self) -> CheckpointKind | None:
        """The checkpoint kind. None before it was loaded for the first time."""
        checkpoint = self.supervisor.checkpoint
        return None if checkpoint is None else checkpoint.kind

    @property
    def is_loaded(self) -> bool:
        """Whether it has its memory."""
        return self.supervisor.loaded_since is not None


class EnginePool:
    """Keeps engines loaded while memory holds them. Implements `Neighbours` for their supervisors."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.lock = threading.RLock()
        self._engines: list[PooledEngine] = []  # the least recently used first
        self._limit_bytes = limit_bytes
        self._free_bytes = 0  # what the device had free when none was loaded. 0 means unknown

    def add(self, engine: PooledEngine) -> None:
        """Add an engine, before its supervisor starts it."""
        self._engines.append(engine)

    def use(self, kind: CheckpointKind) -> PooledEngine:
        """Return the engine of a checkpoint kind, which is now the most recently used one."""
        engine = next(e for e in self._engines if e.kind is kind)
        self._engines = [*(e for e in self._engines if e is not engine), engine]
        return engine

    def loaded_since(self, kind: CheckpointKind) -> float | None:
        """Return when the engine of a checkpoint kind was loaded, on the monotonic clock. None means it is not."""
        return next(e.supervisor.loaded_since for e in self._engines if e.kind is kind)

    def make_room(self, supervisor: EngineSupervisor, is_idle: Callable[[], bool]) -> bool:
        """Unload engines until memory holds this one too, the least recently used first.

        Returns False if one must be unloaded and `is_idle` says that there is work.
        """
        loaded = self._loaded_beside(supervisor)
        engine = next(e for e in self._engines if e.supervisor is supervisor)
        while loaded and not self._fits([engine, *loaded]):
            if not loaded.pop(0).supervisor.unload_for_another(is_idle):
                return False
        return True

    def unload_others(self, supervisor: EngineSupervisor) -> bool:
        """Unload all engines but this one. Returns whether one was loaded."""
        loaded = self._loaded_beside(supervisor)
        return [e.supervisor.unload_for_another(lambda: True) for e in loaded].count(True) > 0

    def note_loaded(self, supervisor: EngineSupervisor) -> None:
        """Take the free memory that an engine found, if it was loaded as the only one."""
        if supervisor.checkpoint is not None and not self._loaded_beside(supervisor):
            self._free_bytes = supervisor.checkpoint.free_bytes

    def _loaded_beside(self, supervisor: EngineSupervisor) -> list[PooledEngine]:
        return [e for e in self._engines if e.supervisor is not supervisor and e.is_loaded]

    def _fits(self, engines: Sequence[PooledEngine]) -> bool:
        limits = [limit for limit in (self._limit_bytes, self._free_bytes) if limit]
        if not limits:
            return False
        needed_bytes = sum(self._needed_bytes(engine) for engine in engines)
        is_enough = needed_bytes <= min(limits)
        log.info(
            "models_compared_with_memory",
            models=len(engines),
            needed_gb=round(needed_bytes / 1e9, 2),
            limit_gb=round(min(limits) / 1e9, 2),
        )
        return is_enough

    def _needed_bytes(self, engine: PooledEngine) -> int:
        """Return the peak memory of an engine. One that was never loaded takes as much for a byte of weights as another."""
        if (own := engine.supervisor.checkpoint) is not None:
            return own.memory_bytes
        known = [(e, e.supervisor.checkpoint) for e in self._engines]
        return max(
            engine.weights_bytes * checkpoint.memory_bytes // max(1, e.weights_bytes)
            for e, checkpoint in known
            if checkpoint is not None
        )

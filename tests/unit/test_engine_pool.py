"""Which engines of a worker are loaded together, by their memory."""

from dataclasses import replace
from typing import Any

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from tests.support.fake_engine_process import FakeEngine
from worker.engine_client.pool import EnginePool, PooledEngine

A, B, C = CheckpointKind.DISTILLED, CheckpointKind.BASE, CheckpointKind.DISTILLED_9B
GB = 10**9


class Supervisor:
    """Loads and unloads nothing, as a supervisor would."""

    def __init__(self, pool, kind, size_gb, free_gb):
        self.pool = pool
        self.loaded_since = None
        self.checkpoint: Any = None
        self.loads_as = replace(
            FakeEngine.checkpoint,
            kind=kind,
            memory_bytes=size_gb * GB,
            free_bytes=free_gb * GB,
        )

    def unload_for_another(self, is_idle):
        if not is_idle():
            return False
        self.loaded_since = None
        return True

    def load(self, is_idle=lambda: True):
        if not self.pool.make_room(self, is_idle):
            return False
        self.checkpoint, self.loaded_since = self.loads_as, 0.0
        self.pool.note_loaded(self)
        return True


class Worker:
    """A pool of engines that take 16 GB each, on a device with this much free memory."""

    def __init__(self, free_gb, limit_bytes=None):
        self.pool = EnginePool(limit_bytes)
        self.supervisors: dict[CheckpointKind, Any] = {
            kind: Supervisor(self.pool, kind, 16, free_gb) for kind in (A, B, C)
        }
        for supervisor in self.supervisors.values():
            self.pool.add(PooledEngine(client=None, supervisor=supervisor, weights_bytes=8 * GB))  # type: ignore[arg-type]  # a pool does not call the client

    def load(self, *kinds):
        for kind in kinds:
            assert self.supervisors[kind].load()
            if self.supervisors[kind].checkpoint:
                self.pool.use(kind)

    @property
    def loaded(self):
        return {k for k, s in self.supervisors.items() if s.loaded_since is not None}


@pytest.mark.parametrize(
    ("free_gb", "loaded"), [(0, {C}), (31, {C}), (32, {B, C}), (47, {B, C}), (48, {A, B, C})]
)
def test_models_stay_loaded_while_memory_holds_them(free_gb, loaded):
    """As many models are loaded as the free memory holds, also before they were measured. Unknown memory holds one."""
    worker = Worker(free_gb)
    worker.load(A, B, C)

    assert worker.loaded == loaded


def test_limit_of_settings_counts_too():
    """KLEIN_MODEL_MEMORY_BYTES limits what is loaded together, whatever is free."""
    worker = Worker(80, limit_bytes=20 * GB)
    worker.load(A, B)

    assert worker.loaded == {B}


def test_least_recently_used_model_is_unloaded():
    """Memory for two: the model that was used longest ago makes room."""
    worker = Worker(40)
    worker.load(A, B)
    worker.pool.use(A)
    worker.load(C)

    assert worker.loaded == {A, C}


def test_working_model_is_not_unloaded_for_command():
    """A model that has work stays, and the other one is not loaded yet."""
    worker = Worker(20)
    worker.load(A)

    assert not worker.supervisors[B].load(is_idle=lambda: False)
    assert worker.loaded == {A}


def test_unloading_all_others_says_whether_there_were_any():
    """Unloading all others leaves one model, and says whether there was another."""
    worker = Worker(80)
    worker.load(A, B, C)

    assert worker.pool.unload_others(worker.supervisors[A])
    assert worker.loaded == {A}
    assert not worker.pool.unload_others(worker.supervisors[A])

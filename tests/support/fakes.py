"""Fakes for the outermost edges: an engine scripted by the test, a storage that fails."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import redis

from app.lua.script import LuaScript
from app.predictions.catalog import parameters_of
from app.predictions.prediction import Prediction
from app.predictions.queue import Queues
from app.predictions.redis_keys import OPEN
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import StorageError
from worker.engine_client.process import EngineDied
from worker.engine_client.request import EngineRequest, Outcome
from worker.engines import Cancelled, OnPreview, Order, Result
from worker.engines.errors import RequestFailed

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEADLINE_S = 30.0


def a_prediction(prediction_id: str = "p", **values: Any) -> Prediction:
    """Create a queued prediction with defaults, its parameters resolved as the service does."""
    plain: dict[str, Any] = {
        "key_id": "key",
        "model": "flux-2-klein-4b-text-to-image",
        "input": {"prompt": "a red house", "seed": 7, "image_size": "square"},
        "created_at": NOW,
    }
    prediction = Prediction(id=prediction_id, **plain | values)
    if "parameters" in values:
        return prediction
    return replace(prediction, parameters=parameters_of(prediction))


def a_store(connection: "redis.Redis", retention: timedelta = timedelta(days=7)) -> Store:
    """Open a store on a real Redis."""
    return Store(connection, Queues(connection), retention)


def edited(script: LuaScript, old: str, new: str) -> LuaScript:
    """Copy a script with one part of its text replaced, to check that tests notice."""
    assert old in script.text
    return LuaScript(script.text.replace(old, new, 1))


def expire_lease(store: Store, prediction_id: str) -> None:
    """Expire the lease of a prediction now."""
    past = timedelta(milliseconds=1)
    store.change(prediction_id, lambda p, now: replace(p, lease_until=now - past))


def end_gap(store: Store, prediction_id: str) -> None:
    """End the delay after a failed attempt now."""
    store.change(
        prediction_id, lambda p, _now: p if p.status.is_final else replace(p, not_before=None)
    )


def make_due(connection: "redis.Redis", prediction_id: str, key: str = OPEN) -> None:
    """Make a prediction due for maintenance now."""
    connection.zadd(key, {prediction_id: 0}, xx=True)


def eventually(condition: Callable[[], Any], within_s: float = DEADLINE_S) -> None:
    """Wait until a condition is true, and fail after a timeout."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        pause.wait(0.005)


def fast_clock() -> Callable[[], float]:
    """Return a clock that advances by a second at each call, so that every step is stored."""
    return map(float, itertools.count()).__next__


class ScriptedEngine:
    """An engine that calls the test's function before its last step, without a process."""

    def __init__(
        self, act: Callable[[Order], None] = lambda _order: None, *, steps: int = 2
    ) -> None:
        self.act = act
        self._steps = steps
        self.orders: list[Order] = []
        self.cancels = 0

    alive = is_ready = True

    def generate(
        self,
        order: Order,
        on_step: Callable[[int, int], bool],
        timeout_s: float | None = None,
        on_preview: OnPreview | None = None,
    ) -> Result:
        """Generate one grey image per seed ."""
        self.orders.append(order)
        if on_preview is not None and order.previews:
            on_preview(a_result().images[0])
        for step in range(1, self._steps):
            if not on_step(step, self._steps):
                raise Cancelled
        self.act(order)
        if not on_step(self._steps, self._steps):
            raise Cancelled
        return a_result(len(order.seeds))

    def generate_batch(self, batch: Sequence[EngineRequest]) -> list[Outcome]:
        """Generate one image after the other. What `_act` raises becomes that request's result."""
        outcomes: list[Outcome] = []
        for request in batch:
            try:
                outcomes.append(
                    self.generate(
                        request.order,
                        request.on_step,
                        request.timeout_s,
                        on_preview=request.on_preview,
                    )
                )
            except (Cancelled, RequestFailed, EngineDied) as exc:
                outcomes.append(exc)
        return outcomes

    def cancel(self) -> None:
        """Count the cancel requests."""
        self.cancels += 1


def a_result(count: int = 1) -> Result:
    """Create grey images, each 64 pixels wide and 48 high."""
    image = np.full((48, 64, 3), 128, np.uint8)
    return Result(images=(image,) * count, notes=("a note",), generate_s=0.1)


class FailingStorage:
    """A storage whose next puts fail, as on a full disk."""

    origin = None
    requirement = "nothing"

    def __init__(self, inner: Storage, failures: int) -> None:
        self._inner = inner
        self.failures = failures
        self.puts = 0

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store the file, or fail."""
        self.puts += 1
        if self.failures > 0:
            self.failures -= 1
            raise StorageError(f"could not store {key}: No space left on device")
        self._inner.put(key, data)

    def free_bytes(self) -> int | None:
        """Return the free space."""
        return self._inner.free_bytes()

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read the file."""
        return self._inner.get(key, max_bytes)

    def read(self, key: str) -> Iterator[bytes]:
        """Read the file in parts."""
        return self._inner.read(key)

    def delete(self, prefix: str) -> None:
        """Delete the file, or fail."""
        if self.failures > 0:
            self.failures -= 1
            raise StorageError(f"could not delete {prefix}")
        self._inner.delete(prefix)

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> Path | str:
        """Locate the file."""
        return self._inner.locate(key, verb)

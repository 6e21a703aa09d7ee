"""Random faults, reproducible by seed, and how long the prediction of a lost worker was without one."""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import redis

from app.predictions.prediction import Prediction, Status
from app.predictions.redis_keys import OPEN, record_key
from app.predictions.store import decode
from tests.chaos.system import Part, System
from tests.support.webhook_receiver import Receiver, reset, status

GIVEN_UP_S = 90.0


class Faults(threading.Thread):
    """Injects one fault after the other until stopped. Everything it paused is resumed at the end."""

    def __init__(
        self, system: System, receiver: Receiver, seed: int, stopping: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.done: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self._system = system
        self._receiver = receiver
        self._random = random.Random(seed)
        self._stopping = stopping
        self._later: list[threading.Thread] = []

    def run(self) -> None:
        kinds: list[tuple[int, str, Callable[[], None]]] = [
            (5, "kill -9 worker", self._kill_worker),
            (3, "kill -9 engine", self._kill_engine),
            (2, "kill -9 api", lambda: self._system.api.signal(signal.SIGKILL)),
            (2, "kill -9 courier", lambda: self._system.courier.signal(signal.SIGKILL)),
            (1, "kill -9 redis", lambda: self._system.redis.signal(signal.SIGKILL)),
            (2, "SIGTERM worker", lambda: self._worker().signal(signal.SIGTERM)),
            (3, "SIGSTOP worker", lambda: self._pause(self._worker(), 15)),
            (1, "SIGSTOP courier", lambda: self._pause(self._system.courier, 5)),
            (1, "SIGSTOP api", lambda: self._pause(self._system.api, 3)),
            (1, "SIGSTOP redis", lambda: self._pause(self._system.redis, 3)),
            (1, "SIGSTOP engine", self._stop_engine),
            (2, "full disk (workers)", self._fill_disk),
            (1, "full disk (Redis)", self._fill_redis),
            (2, "failing receiver", self._fail_receiver),
        ]
        weights = [weight for weight, _, _ in kinds]
        while not self._stopping.wait(self._random.uniform(1, 4)):
            _, name, do = self._random.choices(kinds, weights)[0]
            self.done[name] += 1
            do()
        for thread in self._later:
            thread.join()

    def _worker(self) -> Part:
        return self._random.choice(self._system.workers)

    def _kill_worker(self) -> None:
        running = self._running()
        killed_at = time.time()
        self._worker().signal(signal.SIGKILL)
        if running:
            self._beside(lambda: self._watch(running, killed_at))

    def _kill_engine(self) -> None:
        engine = self._worker().engine()
        if engine is not None:
            with suppress(psutil.NoSuchProcess):
                engine.kill()

    def _pause(self, part: Part, most_s: float) -> None:
        process, seconds = part.process, self._random.uniform(0.5, most_s)
        process.send_signal(signal.SIGSTOP)
        self._after(seconds, lambda: process.send_signal(signal.SIGCONT))

    def _stop_engine(self) -> None:
        engine = self._worker().engine()
        if engine is not None:
            with suppress(psutil.NoSuchProcess):
                engine.suspend()
                self._after(self._random.uniform(0.5, 10), lambda: _resume(engine))

    def _fill_disk(self) -> None:
        workers = self._system.workers
        for part in workers:
            part.limit_files(10)

        def free() -> None:
            for part in workers:
                part.limit_files(-1)

        self._after(self._random.uniform(1, 8), free)

    def _fill_redis(self) -> None:
        part = self._system.redis
        part.limit_files(1)
        self._after(self._random.uniform(0.5, 3), lambda: part.limit_files(-1))

    def _fail_receiver(self) -> None:
        bad = self._random.choice([status(500), status(301, Location="/elsewhere"), reset])
        self._receiver.answers[:] = [bad]
        self._after(
            self._random.uniform(1, 6), lambda: self._receiver.answers.__setitem__(0, status(200))
        )

    def _running(self) -> list[Prediction]:
        try:
            with self._system.connect() as connection:
                predictions = [
                    _read(connection, i.decode()) for i in connection.zrange(OPEN, 0, -1)
                ]
        except redis.RedisError:
            return []
        return [p for p in predictions if p is not None and p.status is Status.RUNNING]

    def _watch(self, running: list[Prediction], killed_at: float) -> None:
        """Measure the time until predictions that lost their worker run again. The others continue or end."""
        before = {p.id: p for p in running}
        ends = time.monotonic() + GIVEN_UP_S
        while before and time.monotonic() < ends:
            time.sleep(0.1)
            with suppress(redis.RedisError), self._system.connect() as connection:
                for prediction_id, was in list(before.items()):
                    now = _read(connection, prediction_id)
                    if now is None or (now.status.is_final and now.owner == was.owner):
                        del before[prediction_id]
                    elif now.owner not in {None, was.owner} and now.started_at is not None:
                        self.recoveries_s.append(now.started_at.timestamp() - killed_at)
                        del before[prediction_id]

    def _after(self, seconds: float, do: Callable[[], object]) -> None:
        def later() -> None:
            time.sleep(seconds)
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                do()

        self._beside(later)

    def _beside(self, do: Callable[[], None]) -> None:
        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        self._later.append(thread)


def _resume(engine: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        engine.resume()


def _read(connection: "redis.Redis", prediction_id: str) -> Prediction | None:
    record = cast("bytes | None", connection.get(record_key(prediction_id)))
    return None if record is None else decode(record, prediction_id)


def as_json(faults: Faults) -> str:
    """Describe the injected faults in one line."""
    return json.dumps(dict(sorted(faults.done.items())))

"""Random faults, reproducible by seed, and how long the prediction of a lost worker was without one."""

import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import redis

from app.predictions.errors import UnreadableRecord
from app.predictions.prediction import Prediction, Status
from app.predictions.record_reader import decode
from app.predictions.redis_keys import EXPIRY, OPEN, record_key
from tests.chaos.system import Part, System
from tests.support.api_client import until
from tests.support.webhook_receiver import Receiver, reset, status

GIVEN_UP_S = 90.0
GRACE_S = 6  # of the workers


class Faults(threading.Thread):
    """Injects one fault after the other until stopped. Everything it paused is resumed at the end."""

    def __init__(
        self, system: System, receiver: Receiver, seed: int, stopping: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.done: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self.exits_s: list[float] = []  # from SIGTERM to the exit of a worker, without its pauses
        self._paused_s: defaultdict[int, float] = defaultdict(float)  # by process id
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
            (2, "kill -9 courier", lambda: self._courier().signal(signal.SIGKILL)),
            (1, "kill -9 redis", lambda: self._system.redis.signal(signal.SIGKILL)),
            (3, "SIGTERM worker", self._stop_worker),
            (3, "SIGSTOP worker", lambda: self._pause(self._worker(), 15)),
            (1, "SIGSTOP courier", lambda: self._pause(self._courier(), 5)),
            (1, "SIGSTOP api", lambda: self._pause(self._system.api, 3)),
            (1, "SIGSTOP redis", lambda: self._pause(self._system.redis, 3)),
            (1, "SIGSTOP engine", self._stop_engine),
            (2, "full disk (workers)", self._fill_disk),
            (2, "hanging storage", self._hang_storage),
            (1, "full disk (Redis)", self._fill_redis),
            (2, "failing receiver", self._fail_receiver),
            (1, "damaged record", self._damage_record),
            (1, "Redis's clock jumps back", self._turn_clock_back),
        ]
        weights = [weight for weight, _, _ in kinds]
        while not self._stopping.wait(self._random.uniform(1, 4)):
            _, name, do = self._random.choices(kinds, weights)[0]
            self.done[name] += 1
            do()
        for thread in self._later:
            thread.join()
        until(self._remove_damaged)

    def _worker(self) -> Part:
        return self._random.choice(self._system.workers)

    def _courier(self) -> Part:
        return self._random.choice(self._system.couriers)

    def _kill_worker(self) -> None:
        running = self._running()
        killed_at = time.time()
        self._worker().signal(signal.SIGKILL)
        if running:
            self._beside(lambda: self._watch(running, killed_at))

    def _stop_worker(self) -> None:
        process = self._worker().process
        stopped_at = time.monotonic()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

        def wait() -> None:
            try:
                process.wait(GIVEN_UP_S)
            except subprocess.TimeoutExpired:
                self.exits_s.append(float("inf"))
            else:
                paused_s = self._paused_s[process.pid]
                self.exits_s.append(max(0.0, time.monotonic() - stopped_at - paused_s))

        self._beside(wait)

    def _kill_engine(self) -> None:
        engine = self._worker().engine()
        if engine is not None:
            with suppress(psutil.NoSuchProcess):
                engine.kill()

    def _pause(self, part: Part, max_s: float) -> None:
        process, seconds = part.process, self._random.uniform(0.5, max_s)
        self._paused_s[process.pid] += seconds
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

    def _hang_storage(self) -> None:
        flag = self._system.folder / "hangs"
        flag.touch()
        self._after(self._random.uniform(1, 8), lambda: flag.unlink(missing_ok=True))

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

    def _damage_record(self) -> None:
        """Add an open and an expired prediction whose records cannot be read. The open one is in line, too."""
        number = self.done["damaged record"]
        with suppress(redis.RedisError), self._system.connect() as connection:
            pipe = connection.pipeline()
            for name, checks in (("open", OPEN), ("old", EXPIRY)):
                prediction_id = f"damaged-{name}-{number}"
                pipe.set(record_key(prediction_id), b'{"id": "damaged"')
                pipe.zadd(checks, {prediction_id: 0})
            pipe.zadd("klein:line:distilled:damaged", {f"damaged-open-{number}": 0})
            pipe.zadd("klein:waiting:distilled", {f"damaged-open-{number}": 0})
            pipe.zadd("klein:turns:distilled", {"damaged": 0})
            pipe.execute()

    def _remove_damaged(self) -> bool:
        """Return whether that was possible: Redis may still load what a restart has left."""
        with suppress(redis.RedisError), self._system.connect() as connection:
            for checks in (OPEN, EXPIRY):
                for prediction_id in connection.zrange(checks, 0, -1):
                    if prediction_id.startswith(b"damaged-"):
                        connection.zrem(checks, prediction_id)
            return True
        return False

    def _turn_clock_back(self) -> None:
        """Leave the checks of all open predictions as a clock would that has gone back an hour."""
        with suppress(redis.RedisError), self._system.connect() as connection:
            for prediction_id in connection.zrange(OPEN, 0, -1):
                connection.zadd(OPEN, {prediction_id: 3_600_000}, incr=True, xx=True)

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
    with suppress(UnreadableRecord):
        return None if record is None else decode(record, prediction_id)
    return None


def as_json(faults: Faults) -> str:
    """Describe the injected faults in one line."""
    return json.dumps(dict(sorted(faults.done.items())))

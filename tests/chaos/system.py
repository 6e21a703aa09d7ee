"""The whole system as processes that are restarted when they end, as systemd or Kubernetes does."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.embedded import server_command
from app.predictions.prediction import Prediction
from app.predictions.record_reader import decode
from app.predictions.redis_keys import record_key
from tests.support import processes

RESTART_S = 0.3
NO_SETTINGS: Mapping[str, str] = {}
STOPPED_S = 30
ROOT = Path(__file__).parents[2]


class Part:
    """One process that must always run, and the last lines of its output."""

    def __init__(self, name: str, command: list[str], environ: dict[str, str]) -> None:
        self.name = name
        self.tail: deque[str] = deque(maxlen=400)
        self.starts = 0
        self.codes: Counter[int] = Counter()
        self.last_words: list[str] = []  # set if it ended by itself with an error
        self._command = command
        self._environ = environ
        self._stopping = threading.Event()
        self.process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def engine(self) -> psutil.Process | None:
        """Find the engine process below a worker."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                if "tests.support.fake_engine_process" in " ".join(child.cmdline()):
                    return child
        return None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def limit_files(self, size_bytes: int) -> None:
        """Make every write past this size fail, as on a full disk."""
        pids = [self.process.pid]
        with suppress(psutil.Error):
            pids += [child.pid for child in psutil.Process(self.process.pid).children()]
        for pid in pids:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def stop(self) -> None:
        self._stopping.set()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOPPED_S)
        finally:
            processes.end(self.process)
        self._keeper.join(STOPPED_S)
        processes.end(self.process)  # the thread may have just started another one

    def _start(self) -> processes.Process:
        self.starts += 1
        process = processes.start(
            self._command,
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def _read(self, process: processes.Process) -> None:
        assert process.stdout is not None
        with suppress(ValueError), process.stdout as lines:
            for line in lines:
                self.tail.append(line.rstrip())

    def _keep(self) -> None:
        while not self._stopping.is_set():
            code = self.process.wait()
            if self._stopping.is_set():
                return
            self.codes[code] += 1
            if code > 0:
                self.last_words.append(self.tail[-1] if self.tail else "")
            self._stopping.wait(RESTART_S)
            if not self._stopping.is_set():
                self.process = self._start()


class System:
    """Redis, api, workers and couriers, each as a process."""

    def __init__(
        self,
        folder: Path,
        keys: list[str],
        batch: int = 4,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        self.folder = folder
        self.parts: list[Part] = []
        self.apis: list[Part] = []
        self.workers: list[Part] = []
        self.couriers: list[Part] = []
        self.redis_socket = folder / "redis" / "redis.sock"
        self.environ = os.environ | {
            "KLEIN_DATA": str(folder),
            "KLEIN_API_KEYS": ",".join(keys),
            "KLEIN_ALLOW_HOSTS": "127.0.0.1",
            "KLEIN_WEIGHTS": str(folder),
            "KLEIN_BATCH": str(batch),
            "REDIS_URL": f"unix://{self.redis_socket}",
            "PYTHONPATH": str(ROOT),
            **settings,
        }

    def start(self, workers: int, couriers: int = 1) -> None:
        """Start every process, Redis first."""
        self.redis = self._add("redis", server_command(self.redis_socket))
        self.await_redis()
        self.url = self.add_api()
        command = [sys.executable, "-m", "tests.chaos.process", "courier"]
        self.couriers += [self._add(f"courier {number}", command) for number in range(couriers)]
        self.add_workers(workers)

    @property
    def api(self) -> Part:
        """The first api."""
        return self.apis[0]

    @property
    def courier(self) -> Part:
        """The first courier."""
        return self.couriers[0]

    def add_api(self, **settings: str) -> str:
        """Start one more api, and return its URL."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "app.cli", "api"]
        self.apis.append(self._add("api", command, KLEIN_PORT=str(port), **settings))
        return f"http://127.0.0.1:{port}"

    def add_workers(self, count: int, kind: str = "worker", **settings: str) -> None:
        """Add workers, of a kind that `tests.chaos.process` knows."""
        command = [sys.executable, "-m", "tests.chaos.process", kind]
        for _ in range(count):
            name = f"worker {len(self.workers)}"
            self.workers.append(self._add(name, command, **settings))

    def connect(self) -> "redis.Redis":
        """Connect to Redis without retries."""
        return redis.Redis(
            unix_socket_path=str(self.redis_socket), retry=Retry(NoBackoff(), 0), socket_timeout=2
        )

    def record(self, prediction_id: str) -> Prediction:
        """Read a record as the store keeps it."""
        with self.connect() as connection:
            record = cast("bytes | None", connection.get(record_key(prediction_id)))
        return decode(record, prediction_id)

    def await_redis(self, within_s: float = 60) -> None:
        ends = time.monotonic() + within_s
        while True:
            try:
                with self.connect() as connection:
                    connection.ping()
                    return
            except redis.RedisError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop every started process, Redis last."""
        threads = [threading.Thread(target=part.stop) for part in self.parts[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for part in self.parts[:1]:
            part.stop()

    def _add(self, name: str, command: list[str], **settings: str) -> Part:
        self.parts.append(part := Part(name, command, self.environ | settings))
        return part


@contextmanager
def running_system(
    workers: int,
    keys: list[str],
    couriers: int = 1,
    batch: int = 4,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Iterator[System]:
    """Run a system in a folder of its own, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="klein-chaos-") as folder:
        system = System(Path(folder), keys, batch, settings)
        try:
            system.start(workers, couriers)
            yield system
        finally:
            system.stop()


@contextmanager
def one_worker(grace_s: int) -> Iterator[System]:
    """Run a system of one worker, whose processes have this grace period."""
    os.environ["KLEIN_GRACE"] = str(grace_s)
    try:
        with running_system(workers=1, keys=["a-key-of-more-than-thirty-two-characters"]) as system:
            yield system
    finally:
        del os.environ["KLEIN_GRACE"]

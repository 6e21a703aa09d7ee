"""Restarts the engine process when it dies, and stops the worker when it dies repeatedly."""

import threading
import time
from collections import deque
from collections.abc import Callable

from app.logs import log
from worker.engine_client.client import EngineClient
from worker.engine_client.process import EngineDied
from worker.engine_client.recycling import RecyclePolicy, resident_bytes
from worker.engines import Checkpoint

MAX_DEATHS = 5
"""So many deaths within DEATH_WINDOW_S, without a generated image between them, are a crash loop."""
DEATH_WINDOW_S = 300.0
MAX_PAUSE_S = 30.0
POLL_S = 1.0
CRASH_LOOP_MESSAGE = "klein worker: the engine dies again and again; see the log above"


class EngineSupervisor:
    """Supervises one engine client. Any thread may call it, and restarts run one at a time."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        client: EngineClient,
        announce: Callable[[Checkpoint | None], None],
        stop_worker: Callable[[], None],
        load_timeout_s: float = 900.0,
        sleep: Callable[[float], object] = time.sleep,
        recycle_policy: RecyclePolicy | None = None,
    ) -> None:
        self._client = client
        self._announce = announce  # called with None when the engine is not ready
        self._stop_worker = stop_worker
        self._load_timeout_s = load_timeout_s  # between two status messages while it loads
        self._sleep = sleep
        self._recycle_policy = recycle_policy or RecyclePolicy()
        self._deaths: deque[float] = deque()
        self._completed = 0
        self._restarting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-supervisor", daemon=True)

    @property
    def is_in_crash_loop(self) -> bool:
        """Whether the engine died too often."""
        return len(self._deaths) >= MAX_DEATHS

    def start(self) -> Checkpoint:
        """Wait until the engine is ready, and supervise it from then on. Raises WeightsError or EngineDied."""
        checkpoint = self._load()
        self._thread.start()
        return checkpoint

    def stop(self) -> None:
        """Stop restarting the engine."""
        self._stopping.set()

    def ensure_running(self) -> None:
        """Restart a dead engine, with exponential backoff. Raises SystemExit in a crash loop."""
        with self._restarting:
            while not self._client.is_ready and not self._stopping.is_set():
                self._announce(None)
                self._count_death()
                self._sleep(min(2 ** (len(self._deaths) - 1) - 1, MAX_PAUSE_S))
                try:
                    self._client.restart()
                    self._load()
                except EngineDied as exc:
                    log.error("engine_died", error=str(exc), last_output=exc.last_output)

    def recycle_if_due(self) -> None:
        """Replace an engine process that uses too much memory or is old. Call it between two batches.

        The worker stays in the registry, as during a long batch: new predictions wait in the queue.
        """
        pid = self._client.pid
        if pid is None or not self._recycle_policy.is_due(pid, size_bytes := resident_bytes(pid)):
            return
        with self._restarting:
            if self._stopping.is_set() or not self._client.is_ready:
                return
            log.info("engine_recycled", resident_mb=round(size_bytes / 2**20))
            try:
                self._client.restart()
                self._load()
            except EngineDied as exc:  # the next batch restarts it
                log.error("engine_died", error=str(exc), last_output=exc.last_output)

    def _load(self) -> Checkpoint:
        checkpoint = self._client.wait_ready(
            self._load_timeout_s, lambda status: log.info("engine_loading", status=status)
        )
        log.info("engine_ready", weights=checkpoint.description, device=checkpoint.device)
        self._announce(checkpoint)
        return checkpoint

    def _count_death(self) -> None:
        now = time.monotonic()
        if self._client.completed != self._completed:
            self._deaths.clear()
        self._completed = self._client.completed
        while self._deaths and now - self._deaths[0] > DEATH_WINDOW_S:
            self._deaths.popleft()
        self._deaths.append(now)
        if self.is_in_crash_loop:
            self._stopping.set()
            self._stop_worker()
            raise SystemExit(CRASH_LOOP_MESSAGE)

    def _watch(self) -> None:
        """Restart an engine that dies while it is idle."""
        while not self._stopping.wait(POLL_S):
            if not self._client.is_ready and not self._client.is_busy:
                self.ensure_running()

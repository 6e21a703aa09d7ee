"""Keeps the engine running: brings it back when it dies, and gives up where it dies again and again."""

import threading
import time
from collections import deque
from collections.abc import Callable

from app.logs import log
from worker.engine_client.client import EngineClient
from worker.engine_client.process import EngineDied
from worker.engine_client.recycling import RecyclePolicy, resident_bytes
from worker.engines import Checkpoint

DEATHS = 5  # without a picture between them,
WITHIN_S = 300.0  # in so long a time, are a crash loop
PAUSE_MOST_S = 30.0
LOOK_S = 1.0
GIVEN_UP = "klein worker: the engine dies again and again; see the log above"


class EngineSupervisor:
    """One engine's supervisor; any thread may ask for the engine, one at a time brings it back."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        client: EngineClient,
        announce: Callable[[Checkpoint | None], None],
        leave: Callable[[], None],
        load_s: float = 900.0,
        wait: Callable[[float], object] = time.sleep,
        growth: RecyclePolicy | None = None,
    ) -> None:
        self._client = client
        self._announce = announce  # what is ready, or None
        self._leave = leave  # have this process end
        self._load_s = load_s  # the longest that one phase of loading may take
        self._wait = wait
        self._growth = growth or RecyclePolicy()
        self._deaths: deque[float] = deque()
        self._drawn = 0
        self._restarting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-supervisor", daemon=True)

    @property
    def has_given_up(self) -> bool:
        """Say whether the engine died too often."""
        return len(self._deaths) >= DEATHS

    def start(self) -> Checkpoint:
        """Wait for the first engine, and look after it from now on. Raises WeightsError or EngineDied."""
        checkpoint = self._load()
        self._thread.start()
        return checkpoint

    def stop(self) -> None:
        """Bring nothing back any more."""
        self._stopping.set()

    def ensure_running(self) -> None:
        """Bring a dead engine back, after a pause that grows. Raises SystemExit where it died too often."""
        with self._restarting:
            while not self._client.is_ready and not self._stopping.is_set():
                self._announce(None)
                self._count_death()
                self._wait(min(2 ** (len(self._deaths) - 1) - 1, PAUSE_MOST_S))
                try:
                    self._client.restart()
                    self._load()
                except EngineDied as exc:
                    log.error("engine_died", error=str(exc), tail=exc.tail)

    def recycle_if_due(self) -> None:
        """Between two orders put a fresh engine in the place of one that has grown too much.

        The worker stays announced, as in a long drawing: what is sent meanwhile waits.
        """
        pid = self._client.pid
        if pid is None or not self._growth.is_due(pid, size_bytes := resident_bytes(pid)):
            return
        with self._restarting:
            if self._stopping.is_set() or not self._client.is_ready:
                return
            log.info("engine_renewed", resident_mb=round(size_bytes / 2**20))
            try:
                self._client.restart()
                self._load()
            except EngineDied as exc:  # whoever draws next has it revived
                log.error("engine_died", error=str(exc), tail=exc.tail)

    def _load(self) -> Checkpoint:
        checkpoint = self._client.wait_ready(
            self._load_s, lambda phase: log.info("engine_loads", phase=phase)
        )
        log.info("engine_ready", weights=checkpoint.description, device=checkpoint.device)
        self._announce(checkpoint)
        return checkpoint

    def _count_death(self) -> None:
        now = time.monotonic()
        if self._client.drawn != self._drawn:
            self._deaths.clear()
        self._drawn = self._client.drawn
        while self._deaths and now - self._deaths[0] > WITHIN_S:
            self._deaths.popleft()
        self._deaths.append(now)
        if self.has_given_up:
            self._stopping.set()
            self._leave()
            raise SystemExit(GIVEN_UP)

    def _watch(self) -> None:
        """Notice an engine that dies while it has nothing to draw: nobody else would."""
        while not self._stopping.wait(LOOK_S):
            if not self._client.is_ready and not self._client.is_driven:
                self.ensure_running()

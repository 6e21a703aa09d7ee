"""Restarts the engine process when it dies, unloads it when it has no work, and stops the worker when it dies repeatedly."""

import threading
import time
from collections.abc import Callable
from typing import NoReturn

from app.logs import log
from app.metrics import CANARIES, ENGINE_SWAPS, ENGINE_WAKE_SECONDS
from app.predictions.worker_registry import Departure, WorkerCommand, WorkerState
from worker.engine_client.canary import Canary
from worker.engine_client.client import EngineClient
from worker.engine_client.deaths import Deaths
from worker.engine_client.idleness import IdleTimer
from worker.engine_client.loading import LoadingPhase
from worker.engine_client.neighbours import Neighbours, NoNeighbours
from worker.engine_client.process import EngineDied
from worker.engine_client.recycling import RecyclePolicy, private_bytes
from worker.engine_client.state_gauge import StateGauge
from worker.engines import Cancelled, Checkpoint, Order, Result, WeightsError
from worker.engines.errors import RequestFailed

CANARY_TIMEOUT_S = 300.0
POLL_S = 1.0
CRASH_LOOP_MESSAGE = "the engine dies again and again; see the log above"


class EngineSupervisor:
    """Supervises one engine client. Any thread may call it, and restarts run one at a time."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        client: EngineClient,
        announce: Callable[[Checkpoint | None, WorkerState], None],
        stop_worker: Callable[[], None],
        *,
        is_idle: Callable[[], bool] = lambda: True,
        is_worker_idle: Callable[[], bool] | None = None,
        neighbours: Neighbours | None = None,
        on_loading: Callable[[LoadingPhase], None] = lambda _phase: None,
        idle_timer: IdleTimer | None = None,
        canary: Canary | None = None,
        load_timeout_s: float = 900.0,
        sleep: Callable[[float], object] | None = None,
        recycle_policy: RecyclePolicy | None = None,
    ) -> None:
        self._client = client
        self._announce_to = announce  # called with no checkpoint when the worker takes no work
        self._stop_worker = stop_worker
        self._is_idle = is_idle  # whether no claimed prediction waits for this engine or runs
        self._is_worker_idle = is_worker_idle or is_idle  # the same for all engines of the worker
        self._neighbours = neighbours or NoNeighbours()
        self._on_loading = on_loading  # called with each phase of a start but the first
        self._idle_timer = idle_timer or IdleTimer()
        self._canary = canary or Canary(None)
        self._load_timeout_s = load_timeout_s  # between two status messages while it loads
        self._recycle_policy = recycle_policy or RecyclePolicy()
        self._checkpoint: Checkpoint | None = None
        self._is_asleep = False
        self._loaded_since: float | None = None
        self._gauge = StateGauge()
        self._command: WorkerCommand | None = None
        self._deaths = Deaths()
        self._restarting = self._neighbours.lock
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait  # which `stop` ends
        self._thread = threading.Thread(target=self._watch, name="engine-supervisor", daemon=True)
        self.failure: str | None = None
        """Why the worker must end, if it must."""
        self.departure: Departure | None = None
        """The same as a cause."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that was loaded last. None before the first time."""
        return self._checkpoint

    @property
    def loaded_since(self) -> float | None:
        """When the engine was loaded, on the monotonic clock. None means it was not, or was unloaded. It may have died since."""
        return self._loaded_since

    def start(self) -> Checkpoint:
        """Start the engine and wait until it is ready, and supervise it from then on. Raises WeightsError or EngineDied."""
        with self._restarting:
            self._gauge.set(WorkerState.LOADING)
            self._neighbours.make_room(self, lambda: True)
            self._client.start()
            checkpoint = self._load_beside_others()
            if self._canary.is_due:
                self._check_canary(checkpoint)
        self._thread.start()
        return checkpoint

    def stop(self) -> None:
        """Stop restarting the engine, and end the pause before a restart."""
        self._stopping.set()

    def ensure_running(self) -> None:
        """Start an engine that is asleep, or restart a dead one with exponential backoff.

        Raises SystemExit in a crash loop, and if the weights can no longer be served. Call it while no engine of the
        worker generates: others are unloaded if memory does not hold them too.
        """
        with self._restarting:
            if self._is_asleep and not self._stopping.is_set():
                self._wake(lambda: True)
            self._revive()

    def _revive(self) -> None:
        with self._restarting:
            while not self._is_asleep and not self._client.is_ready and not self._stopping.is_set():
                self._announce(None, WorkerState.LOADING)
                self._deaths.count(self._client.completed)
                if self._deaths.are_a_crash_loop:
                    self._leave(Departure.CRASH_LOOP, CRASH_LOOP_MESSAGE)
                self._sleep(self._deaths.pause_s)
                if not self._stopping.is_set():
                    self._restart()

    def recycle_if_due(self) -> None:
        """Take the memory of the engine process after a batch, and replace the process at once if it has doubled.

        One that has grown less is replaced when it has no work (`check`). The worker stays in the registry, as during
        a long batch: new predictions wait in the queue.
        """
        if (pid := self._client.pid) is None:
            return
        self._recycle_policy.record(pid, max(0, private_bytes(pid) - self._client.cached_bytes))
        if self._recycle_policy.is_urgent(pid):
            self._recycle(lambda: True)

    def _recycle(self, is_idle: Callable[[], bool]) -> None:
        with self._restarting:
            if self._stopping.is_set() or not self._client.is_ready:
                return
            pid = self._client.pid
            private_mb = 0 if pid is None else round(private_bytes(pid) / 2**20)
            if self._client.unload(is_idle):
                log.info("engine_recycled", private_mb=private_mb)
                self._restart()  # if it fails, the next check or batch tries again

    def request(self, command: WorkerCommand) -> None:
        """Follow an operator's command at the next check. To unload waits for the end of the work."""
        self._command = command

    def check(self) -> None:
        """Restart an engine that died without work, unload one that has been idle, and follow commands."""
        is_working = self._client.is_busy or not self._is_idle()
        self._idle_timer.look(is_working=is_working, completed=self._client.completed)
        if self._command is WorkerCommand.LOAD:
            self._follow_load()
        elif self._is_asleep:
            self._command = None
        elif not self._client.is_ready and not self._client.is_busy:
            self._revive()
        elif not is_working and self._command is WorkerCommand.UNLOAD:
            self._unload(reason="command")
        elif not is_working and self._idle_timer.has_passed:
            self._unload(reason="idle")
        elif not is_working and self._recycle_policy.is_due(self._client.pid):
            self._recycle(self._is_idle)
        elif self._canary.is_due and self._is_worker_idle() and self._checkpoint is not None:
            with self._restarting:
                if not self._is_asleep:
                    self._check_canary(self._checkpoint)

    def _check_canary(self, checkpoint: Checkpoint) -> None:
        """Generate the canary, unless there is work or it takes minutes, which a caller would wait for.

        Raises SystemExit if it differs, and no image is generated any more.
        """
        if checkpoint.takes_minutes:
            return
        started = time.monotonic()
        try:
            difference = self._canary.check(self._generate_canary, checkpoint)
        except Cancelled:
            return
        except (RequestFailed, EngineDied) as exc:
            if not self._stopping.is_set():  # else the shutdown has killed the engine
                CANARIES.labels("failed").inc()
                log.error("canary_failed", error=str(exc))
            return
        self._idle_timer.skip(self._client.completed)
        outcome = "different" if difference else "same"
        CANARIES.labels(outcome).inc()
        log.info("canary_checked", outcome=outcome, took_s=round(time.monotonic() - started, 2))
        if difference is not None:
            self._client.kill()
            self._leave(Departure.CANARY, str(difference))

    def _generate_canary(self, order: Order) -> Result:
        return self._client.generate(
            order, lambda _k, _n: self._is_worker_idle(), timeout_s=CANARY_TIMEOUT_S
        )

    def unload_for_another(self, is_idle: Callable[[], bool]) -> bool:
        """End the engine because the memory is needed for another one. Returns False if `is_idle` says that there is work."""
        has_ended = self._unload("another model", is_idle)
        if has_ended:
            ENGINE_SWAPS.inc()
        return has_ended

    def _unload(self, reason: str, is_idle: Callable[[], bool] | None = None) -> bool:
        with self._restarting:
            if self._stopping.is_set() or not self._client.unload(is_idle or self._is_idle):
                return False
            self._is_asleep, self._command, self._loaded_since = True, None, None
            log.info("engine_unloaded", reason=reason)
            self._announce(self._checkpoint, WorkerState.ASLEEP)
            return True

    def _follow_load(self) -> None:
        """Load an engine that is asleep. If others must be unloaded for it, the command waits until they have no work."""
        with self._restarting:
            self._idle_timer.restart()
            if not self._is_asleep or self._wake(self._is_worker_idle):
                self._command = None
        self._revive()

    def _wake(self, is_idle: Callable[[], bool]) -> bool:
        """Start an engine that is asleep. Returns False if there is no room for it yet."""
        started = time.monotonic()
        if not self._neighbours.make_room(self, is_idle):
            return False
        self._is_asleep = False
        self._announce(self._checkpoint, WorkerState.LOADING)
        self._restart()
        if self._client.is_ready:
            ENGINE_WAKE_SECONDS.observe(time.monotonic() - started)
        return True

    def _restart(self) -> None:
        try:
            self._client.restart()
            self._on_loading(LoadingPhase.STARTING)
            self._load_beside_others()
        except EngineDied as exc:
            if not self._stopping.is_set():  # else the shutdown has killed it
                log.error("engine_died", error=str(exc), last_output=exc.last_output)
        except WeightsError as exc:
            self._leave(Departure.WEIGHTS, str(exc))

    def _load_beside_others(self) -> Checkpoint:
        """Load the model. If memory does not hold it beside others after all, load it alone."""
        try:
            return self._load()
        except WeightsError:
            if not self._neighbours.unload_others(self):
                raise
        self._client.restart()
        return self._load()

    def _load(self) -> Checkpoint:
        def on_status(status: str) -> None:
            log.info("engine_loading", status=status)
            if (phase := LoadingPhase.of(status)) is not None:
                self._on_loading(phase)

        checkpoint = self._client.wait_ready(self._load_timeout_s, on_status)
        log.info(
            "engine_ready",
            weights=checkpoint.label,
            device=checkpoint.device,
            start_s=round(self._client.start_s, 1),
        )
        self._checkpoint, self._loaded_since = checkpoint, time.monotonic()
        self._neighbours.note_loaded(self)
        self._idle_timer.restart()
        self._announce(checkpoint, WorkerState.READY)
        return checkpoint

    def _announce(self, checkpoint: Checkpoint | None, state: WorkerState) -> None:
        self._gauge.set(state)
        self._announce_to(checkpoint, state)

    def _leave(self, departure: Departure, reason: str) -> NoReturn:
        """End the worker, which gives its predictions back."""
        self.departure, self.failure = departure, reason
        self._stopping.set()
        log.error("worker_leaves", cause=departure, reason=reason)
        self._announce(None, WorkerState.LOADING)
        self._stop_worker()
        raise SystemExit(f"klein worker: {reason}")

    def _watch(self) -> None:
        """Check the engine again and again, also while the worker has no work."""
        while not self._stopping.wait(POLL_S):
            self.check()

"""The engine client: starts and ends the engine process, and generates images in it. `running_batch` drives one call."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

from app.metrics import LAST_IMAGE
from worker.engine_client.process import EngineProcess
from worker.engine_client.request import EngineRequest, Outcome
from worker.engine_client.running_batch import RunningBatch
from worker.engine_client.silence import SilenceLimit
from worker.engine_process.protocol import Beat, Broken, Loading, Ready
from worker.engines import Checkpoint, OnPreview, Order, Result, Tuning, WeightsError

REPEAT_STATUS_S = 10.0
"""How often the log repeats what an engine is busy with while it starts."""


class EngineClient:
    """Drives one engine process. One thread generates, any thread may cancel or kill."""

    def __init__(  # noqa: PLR0913 -- keyword-only except the weights
        self,
        weights: Path,
        *,
        loras: Path | None = None,
        tuning: Tuning | None = None,
        on_line: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        module: str = "worker.engine_process.main",
        silence_limit: SilenceLimit | None = None,
    ) -> None:
        arguments = ["--weights", str(weights.absolute())]
        arguments += ["--tuning", (tuning or Tuning()).to_json()]
        arguments += ["--loras", str(loras.absolute())] if loras else []
        self._process = EngineProcess(module, arguments, environ, on_line)
        self._silence_limit = silence_limit or SilenceLimit()
        self._ids = itertools.count(1)
        self._batch: RunningBatch | None = None
        self._busy = threading.Lock()
        self._is_ready = False
        self.completed = 0
        """How many requests all its processes have completed."""
        self.cached_bytes = 0
        """Memory of the host that the caches of the engine process take."""
        self._image_s: float | None = None  # when the last request was completed
        self.start_s = 0.0
        """How long the last start took until the model was loaded and warm."""

    @property
    def pid(self) -> int | None:
        """The process id. None before `start`."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, ready or not."""
        return self._process.alive

    @property
    def is_ready(self) -> bool:
        """Whether the process runs and has loaded the weights."""
        return self._is_ready and self.alive

    @property
    def is_busy(self) -> bool:
        """Whether a batch is running."""
        return self._busy.locked()

    @property
    def remaining_s(self) -> float | None:
        """Estimated time until the running batch ends. None if none runs or it has no two steps yet."""
        batch = self._batch
        return None if batch is None else batch.remaining_s

    @property
    def image_age_s(self) -> float | None:
        """Seconds since a request was last completed. None before the first one."""
        return None if self._image_s is None else time.monotonic() - self._image_s

    @property
    def start_left(self) -> timedelta | None:
        """Estimated time until the process that starts is ready, by the start before. None if it is the first one."""
        if not self.start_s:
            return None
        passed_s = time.monotonic() - self._process.started_s
        return timedelta(seconds=max(0.0, self.start_s - passed_s))

    @property
    def last_output(self) -> str:
        """The last lines that the process wrote."""
        return self._process.last_output

    def start(self) -> None:
        """Start the process without waiting for it. `wait_ready` waits."""
        self._is_ready = self.is_ready
        self._process.start()

    def wait_ready(
        self, timeout_s: float, on_status: Callable[[str], None] = lambda _status: None
    ) -> Checkpoint:
        """Wait until the model is loaded and warm. `on_status` is called with each status of the start.

        Loading may take as long as the process sends beats. `timeout_s` limits the time without any message.
        Every ten seconds the status is repeated. Raises `WeightsError` if the weights cannot be served, `EngineDied`
        and `EngineHung`.
        """
        status, since, repeats = "", time.monotonic(), 0
        while True:
            message, _ = self._process.receive(timeout_s)
            if isinstance(message, Loading):
                status, since, repeats = message.status, time.monotonic(), 0
                on_status(status)
            elif isinstance(message, Beat):
                seconds = time.monotonic() - since
                if seconds > (repeats + 1) * REPEAT_STATUS_S:
                    repeats += 1
                    on_status(f"{status}, for {seconds:.0f} s")
            elif isinstance(message, Ready):
                self.start_s = time.monotonic() - self._process.started_s
                self._is_ready = True
                return message.checkpoint
            elif isinstance(message, Broken):
                self.kill()
                raise WeightsError(message.message)

    def generate(
        self,
        order: Order,
        on_step: Callable[[int, int], bool],
        *,
        timeout_s: float | None = None,
        on_preview: OnPreview | None = None,
    ) -> Result:
        """Run one order. `on_step(k, n)` is called after each step and returns False to cancel.

        The images are read-only views of memory shared with the engine process. Raises `Cancelled` and
        `RequestFailed` with its cause, after which the engine process serves the next request. Raises `EngineDied` when
        the process ended, `EngineHung` when it passed a limit of `SilenceLimit` and was killed. After
        `timeout_s` seconds it raises `TimedOut` and kills the process only if it does not stop.
        """
        request = EngineRequest(
            order=order, on_step=on_step, on_preview=on_preview, timeout_s=timeout_s
        )
        outcome = self.generate_batch([request])[0]
        if isinstance(outcome, Result):
            return outcome
        raise outcome

    def generate_batch(self, batch: Sequence[EngineRequest]) -> list[Outcome]:
        """Run compatible requests in one call of the model and return the outcome of each.

        A cancel, failure or timeout ends one request. The death of the process ends all that are unfinished.
        """
        with self._busy:
            for request in batch:
                request.start(f"{self.pid}-{next(self._ids)}", len(batch))
            self._batch = RunningBatch(
                batch, self._process, self._silence_limit, self._record_result
            )
            try:
                self._batch.run()
            finally:
                self._batch = None
        return [request.outcome for request in batch if request.outcome is not None]

    def cancel(self) -> None:
        """Cancel the running batch, from any thread. `generate` then raises `Cancelled`."""
        if (batch := self._batch) is not None:
            batch.cancel()

    def unload(self, is_idle: Callable[[], bool]) -> bool:
        """End the process to free its memory, unless there is work. Returns whether it has ended.

        It is not ready from the first line on, so that work which comes meanwhile waits for the next process.
        """
        self._is_ready = False
        if not is_idle():
            self._is_ready = True
            return False
        self.kill()
        return True

    def restart(self) -> None:
        """Kill the process and start another one. Call `wait_ready` afterwards."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """Kill the process. Does nothing if none runs."""
        self._is_ready = False
        self._process.kill()

    def close(self) -> None:
        """Kill the process and free all resources. This object cannot be used again."""
        self._is_ready = False
        self._process.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record_result(self, result: Result) -> None:
        self.completed += 1
        self.cached_bytes = result.cached_bytes
        self._image_s = time.monotonic()
        LAST_IMAGE.set_to_current_time()

"""The engine client: loads the model and generates images in the engine process, and detects its death."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

from app.logs import log
from app.metrics import LAST_IMAGE, TIMEOUT_KILLS
from worker.engine_client.process import EngineDied, EngineProcess
from worker.engine_client.request import EngineRequest, Outcome
from worker.engine_client.silence import SilenceLimit
from worker.engine_process.protocol import (
    Beat,
    Broken,
    Cancel,
    Done,
    Failed,
    Generate,
    Loading,
    Message,
    Preview,
    Ready,
    Step,
    Stopped,
    map_images,
)
from worker.engines import (
    Cancelled,
    Checkpoint,
    OnPreview,
    Order,
    Result,
    TimedOut,
    Tuning,
    WeightsError,
)
from worker.engines.errors import RequestFailed

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
        self._running_ids: tuple[str, ...] = ()
        self._busy = threading.Lock()
        self._is_ready = False
        self._remaining: tuple[float, float] | None = None  # estimated at, seconds from then
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
        if (remaining := self._remaining) is None:
            return None
        estimated_at, seconds = remaining
        return max(0.0, seconds - (time.monotonic() - estimated_at))

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

        Loading may take as long as the process sends beats; `timeout_s` limits the time without any message.
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
        `RequestFailed` with its cause, after which the engine process serves the next request; `EngineDied` when
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
            self._running_ids = tuple(request.id for request in batch)
            try:
                for index, request in enumerate(batch, 1):
                    self._process.send(
                        Generate(
                            id=request.id, order=request.order, batch_remaining=len(batch) - index
                        )
                    )
                self._receive_outcomes(batch)
            except EngineDied as died:
                for request in batch:
                    request.finish(died)
            except BaseException:
                self.cancel()  # on_step raised, so nothing uses the results
                raise
            finally:
                self._running_ids = ()
                self._remaining = None
        return [request.outcome for request in batch if request.outcome is not None]

    def cancel(self) -> None:
        """Cancel the running batch, from any thread. `generate` then raises `Cancelled`."""
        for request_id in self._running_ids:
            self._process.try_send(Cancel(id=request_id))

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

    def _receive_outcomes(self, batch: Sequence[EngineRequest]) -> None:
        step_deadline = float("inf")  # of the next step
        while unfinished := {request.id: request for request in batch if request.outcome is None}:
            message, fd = self._receive_or_time_out(unfinished.values(), step_deadline)
            request = unfinished.get(getattr(message, "id", ""))
            if request is None:
                if fd is not None:
                    os.close(fd)  # the result of a request that has an outcome already
            elif isinstance(message, Step):
                if not request.record_step(message.k, message.n):
                    self._process.try_send(Cancel(id=request.id))
                step_deadline = self._next_step_deadline(request)
                self._estimate_remaining(message, request.step_times)
            elif isinstance(message, Preview) and request.on_preview is not None:
                request.on_preview(message.image)
            elif isinstance(message, Done) and fd is not None:
                self._complete(request, map_images(fd, message))
            elif isinstance(message, Failed):
                request.finish(RequestFailed(message.message, message.cause))
            elif isinstance(message, Stopped):
                request.finish(Cancelled())

    def _complete(self, request: EngineRequest, result: Result) -> None:
        self._silence_limit.record(request.order, result, request.step_times, request.batch_size)
        self.completed += 1
        self.cached_bytes = result.cached_bytes
        self._image_s = time.monotonic()
        LAST_IMAGE.set_to_current_time()
        request.finish(result)

    def _estimate_remaining(self, step: Step, step_times: list[float]) -> None:
        if len(step_times) > 1:
            step_s = (step_times[-1] - step_times[0]) / (len(step_times) - 1)
            self._remaining = step_times[-1], step_s * (step.n - step.k)

    def _next_step_deadline(self, request: EngineRequest) -> float:
        """Return when the next step must have ended. After the last one the images are decoded, without a limit."""
        if not request.is_between_steps:
            return float("inf")
        limit_s = self._silence_limit.step_s(request.order, request.step_times, request.batch_size)
        return time.monotonic() + limit_s

    def _stop_s(self, request: EngineRequest) -> float:
        """Return how long a request may take to stop: it stops at its next step, however long it encodes before."""
        if not request.is_between_steps:
            return self._silence_limit.min_step_s
        return self._silence_limit.stop_s(request.order, request.step_times, request.batch_size)

    def _receive_or_time_out(
        self, unfinished: Collection[EngineRequest], step_deadline: float
    ) -> tuple[Message | None, int | None]:
        """Return the next message, or None after telling a request to stop at its run timeout.

        In a batch that request ends at once. Alone it may reach its next step, or its process is killed.
        """
        first = min(unfinished, key=lambda request: request.deadline)
        beat_s = self._silence_limit.beat_s
        left_s = min(first.deadline, step_deadline) - time.monotonic()
        if left_s > beat_s or (left_s > 0 and self._process.has_message_within(left_s)):
            return self._process.receive(beat_s)
        if step_deadline < first.deadline:
            raise self._process.kill_hung("took too long for a step")
        if first.has_timed_out:
            log.warning("engine_killed_at_run_timeout", timeout_s=first.timeout_s)
            TIMEOUT_KILLS.inc()
            raise self._process.reap()
        self._process.try_send(Cancel(id=first.id))
        if len(unfinished) > 1:
            first.finish(TimedOut())
        else:
            first.set_stop_deadline(self._stop_s(first))
        return None, None

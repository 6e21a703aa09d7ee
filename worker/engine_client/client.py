"""The engine client: loads the model and generates images in the engine process, and detects its death."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from worker.engine_client.process import EngineDied, EngineProcess
from worker.engine_client.request import EngineRequest, Outcome
from worker.engine_client.silence import SilenceLimit
from worker.engine_process.protocol import (
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

STOP_S = 2.0
"""How long a request may take to stop after its run timeout, before the process is killed."""


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

        `timeout_s` limits the time between two statuses. Raises `WeightsError` if the weights cannot be
        served, `EngineDied` and `EngineHung`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message, _ = self._process.receive(deadline - time.monotonic())
            if isinstance(message, Loading):
                deadline = time.monotonic() + timeout_s
                on_status(message.status)
            elif isinstance(message, Ready):
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
        the process ended, `EngineHung` when it was silent for longer than the silence limit and was killed. After
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
        limit_s = self._silence_limit.limit_s(batch[0].order, len(batch))
        while unfinished := {request.id: request for request in batch if request.outcome is None}:
            message, fd = self._receive_or_time_out(unfinished.values(), limit_s)
            request = unfinished.get(getattr(message, "id", ""))
            if request is None:
                if fd is not None:
                    os.close(fd)  # the result of a request that has an outcome already
            elif isinstance(message, Step):
                if not request.record_step(message.k, message.n):
                    self._process.try_send(Cancel(id=request.id))
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
        request.finish(result)

    def _estimate_remaining(self, step: Step, step_times: list[float]) -> None:
        if len(step_times) > 1:
            step_s = (step_times[-1] - step_times[0]) / (len(step_times) - 1)
            self._remaining = step_times[-1], step_s * (step.n - step.k)

    def _receive_or_time_out(
        self, unfinished: Collection[EngineRequest], limit_s: float
    ) -> tuple[Message | None, int | None]:
        """Return the next message, or None after telling a request to stop at its run timeout.

        In a batch that request ends at once. Alone it has STOP_S to reach its next step, or its process is killed.
        """
        first = min(unfinished, key=lambda request: request.deadline)
        left_s = first.deadline - time.monotonic()
        if left_s > limit_s or (left_s > 0 and self._process.has_message_within(left_s)):
            return self._process.receive(limit_s)
        if first.has_timed_out:
            raise self._process.reap()
        self._process.try_send(Cancel(id=first.id))
        if len(unfinished) > 1:
            first.finish(TimedOut())
        else:
            first.set_stop_deadline(STOP_S)
        return None, None

"""A running batch: sends its requests to the engine process and receives the outcome of each."""

import os
import time
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

from app.logs import log
from app.metrics import TIMEOUT_KILLS
from worker.engine_client.process import EngineDied, EngineProcess
from worker.engine_client.request import EngineRequest
from worker.engine_client.silence import SilenceLimit
from worker.engine_process.protocol import (
    Cancel,
    Done,
    Failed,
    Generate,
    Message,
    Preview,
    Step,
    Stopped,
    map_images,
)
from worker.engines import Cancelled, Result, TimedOut
from worker.engines.errors import RequestFailed

_deadline_of = attrgetter("deadline")


class RunningBatch:
    """Runs the requests of one call of the model. One thread runs it, any thread may cancel it."""

    def __init__(
        self,
        requests: Sequence[EngineRequest],
        process: EngineProcess,
        silence_limit: SilenceLimit,
        on_result: Callable[[Result], None],
    ) -> None:
        """`on_result` is called with each result before its request has an outcome."""
        self._requests = requests
        self._process = process
        self._silence_limit = silence_limit
        self._on_result = on_result
        self._remaining: tuple[float, float] | None = None  # estimated at, seconds from then

    @property
    def remaining_s(self) -> float | None:
        """Estimated time until the batch ends. None before its second step."""
        if (remaining := self._remaining) is None:
            return None
        estimated_at, seconds = remaining
        return max(0.0, seconds - (time.monotonic() - estimated_at))

    def run(self) -> None:
        """Run until each request has an outcome. The death of the process is the outcome of all unfinished ones."""
        try:
            for index, request in enumerate(self._requests, 1):
                batch_remaining = len(self._requests) - index
                self._process.send(
                    Generate(id=request.id, order=request.order, batch_remaining=batch_remaining)
                )
            self._receive_outcomes()
        except EngineDied as died:
            for request in self._requests:
                request.finish(died)
        except BaseException:
            self.cancel()  # on_step raised, so nothing uses the results
            raise

    def cancel(self) -> None:
        """Tell the engine process to stop every request, from any thread."""
        for request in self._requests:
            self._process.try_send(Cancel(id=request.id))

    def _receive_outcomes(self) -> None:
        step_deadline = float("inf")  # of the next step
        while unfinished := {
            request.id: request for request in self._requests if request.outcome is None
        }:
            message, fd = self._receive_or_time_out(unfinished.values(), step_deadline)
            request = unfinished.get(getattr(message, "id", ""))
            if request is None:
                if fd is not None:
                    os.close(fd)  # the result of a request that has an outcome already
            elif isinstance(message, Step):
                if not request.record_step(message.k, message.n, message.ends):
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
        self._on_result(result)
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
        first = min(unfinished, key=_deadline_of)
        beat_s = self._silence_limit.beat_s
        left_s = min(first.deadline, step_deadline) - time.monotonic()
        if left_s > beat_s:
            return self._process.receive(beat_s)
        if left_s > 0 and (received := self._process.receive_within(left_s)) is not None:
            return received
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

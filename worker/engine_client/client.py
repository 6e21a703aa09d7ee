"""The worker's handle on its engine: has it load and draw, and notices when it is gone."""

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
    map_pictures,
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

STOP_S = 2.0  # how long an order that ran too long may take to stop, before its process is killed


class EngineClient:
    """One engine. One thread drives it; any thread may cancel or kill."""

    def __init__(  # noqa: PLR0913 -- all but the weights by name
        self,
        weights: Path,
        *,
        loras: Path | None = None,
        tuning: Tuning | None = None,
        on_line: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        module: str = "worker.engine_process.main",
        pace: SilenceLimit | None = None,
    ) -> None:
        arguments = ["--weights", str(weights.absolute())]
        arguments += ["--tuning", (tuning or Tuning()).to_json()]
        arguments += ["--loras", str(loras.absolute())] if loras else []
        self._process = EngineProcess(module, arguments, environ, on_line)
        self._pace = pace or SilenceLimit()
        self._ids = itertools.count(1)
        self._current: tuple[str, ...] = ()
        self._driving = threading.Lock()
        self._is_ready = False
        self._expected: tuple[float, float] | None = None  # when, and how long from then
        self.drawn = 0
        """How many orders it has drawn, by all its processes."""

    @property
    def pid(self) -> int | None:
        """The process id, or None before `start`."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process runs, ready or not."""
        return self._process.alive

    @property
    def is_ready(self) -> bool:
        """True while it runs and has its weights."""
        return self._is_ready and self.alive

    @property
    def is_driven(self) -> bool:
        """True while it has an order."""
        return self._driving.locked()

    @property
    def expected_s(self) -> float | None:
        """How long what is being drawn will take yet, by its steps so far; None where nothing tells."""
        if (expected := self._expected) is None:
            return None
        at, left_s = expected
        return max(0.0, left_s - (time.monotonic() - at))

    @property
    def tail(self) -> str:
        """The last lines the process wrote."""
        return self._process.tail

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` waits for the weights."""
        self._is_ready = self.is_ready
        self._process.start()

    def wait_ready(
        self, timeout_s: float, on_phase: Callable[[str], None] = lambda _phase: None
    ) -> Checkpoint:
        """Wait until it has loaded and drawn its first pictures; `on_phase` hears how far it is.

        It may be silent for `timeout_s` between two phases. Raises `WeightsError` when the weights cannot be served, `EngineDied` and `EngineHung`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message, _ = self._process.receive(deadline - time.monotonic())
            if isinstance(message, Loading):
                deadline = time.monotonic() + timeout_s
                on_phase(message.phase)
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
        """Have the order drawn; `on_step(k, n)` hears each step and returns False to cancel.

        The images are read-only views of memory shared with the engine process. Raises `Cancelled` and
        `RequestFailed` with its cause, after which the engine process serves the next request; `EngineDied` when
        the process ended, `EngineHung` when it was silent for longer than the silence limit and was killed. After
        `timeout_s` seconds it raises `TimedOut` and kills the process only if it does not stop.
        """
        asked = EngineRequest(
            order=order, on_step=on_step, on_preview=on_preview, timeout_s=timeout_s
        )
        outcome = self.draw([asked])[0]
        if isinstance(outcome, Result):
            return outcome
        raise outcome

    def draw(self, batch: Sequence[EngineRequest]) -> list[Outcome]:
        """Have orders that agree drawn at once; give what became of each, as `generate` tells it of one.

        What one of them does to itself is its own; only a child that dies takes along all that it still draws.
        """
        with self._driving:
            for asked in batch:
                asked.begin(f"{self.pid}-{next(self._ids)}", len(batch))
            self._current = tuple(asked.id for asked in batch)
            try:
                for more, asked in zip(reversed(range(len(batch))), batch, strict=True):
                    self._process.send(Generate(id=asked.id, order=asked.order, more=more))
                self._follow(batch)
            except EngineDied as died:
                for asked in batch:
                    asked.end(died)
            except BaseException:
                self.cancel()  # on_step raised: nobody waits for the rest
                raise
            finally:
                self._current = ()
                self._expected = None
        return [asked.outcome for asked in batch if asked.outcome is not None]

    def cancel(self) -> None:
        """Stop what is being drawn, from any thread; `generate` then raises `Cancelled`."""
        for order_id in self._current:
            self._process.mention(Cancel(id=order_id))

    def restart(self) -> None:
        """Kill what runs and start afresh; `wait_ready` must follow."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process now, whatever it does; a second time it does nothing."""
        self._is_ready = False
        self._process.kill()

    def close(self) -> None:
        """End the process and free what this handle holds; it is not to be used again."""
        self._is_ready = False
        self._process.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, batch: Sequence[EngineRequest]) -> None:
        silence_s = self._pace.silence_s(batch[0].order, len(batch))
        while going := {asked.id: asked for asked in batch if asked.outcome is None}:
            message, fd = self._receive_in_time(going.values(), silence_s)
            asked = going.get(getattr(message, "id", ""))
            if asked is None:
                if fd is not None:
                    os.close(fd)  # of what nobody waits for any more
            elif isinstance(message, Step):
                if not asked.wants_more(message.k, message.n):
                    self._process.mention(Cancel(id=asked.id))
                self._expect(message, asked.steps_at)
            elif isinstance(message, Preview) and asked.on_preview is not None:
                asked.on_preview(message.picture)
            elif isinstance(message, Done) and fd is not None:
                result = map_pictures(fd, message)
                self._pace.learn(asked.order, result, asked.steps_at, asked.at_once)
                self.drawn += 1
                asked.end(result)
            elif isinstance(message, Failed):
                asked.end(RequestFailed(message.message, message.cause))
            elif isinstance(message, Stopped):
                asked.end(Cancelled())

    def _expect(self, step: Step, steps_at: list[float]) -> None:
        if len(steps_at) > 1:
            each_s = (steps_at[-1] - steps_at[0]) / (len(steps_at) - 1)
            self._expected = steps_at[-1], each_s * (step.n - step.k)

    def _receive_in_time(
        self, going: Collection[EngineRequest], silence_s: float
    ) -> tuple[Message | None, int | None]:
        """Give the next message, or None where an order's time is over: that one is told to stop.

        Where others are drawn with it nobody waits for it; alone it stops at a step that comes soon, or with the process.
        """
        first = min(going, key=lambda asked: asked.ends_at)
        left_s = first.ends_at - time.monotonic()
        if left_s > silence_s or (left_s > 0 and self._process.speaks_within(left_s)):
            return self._process.receive(silence_s)
        if first.is_late:
            raise self._process.died()
        self._process.mention(Cancel(id=first.id))
        if len(going) > 1:
            first.end(TimedOut())
        else:
            first.be_late(STOP_S)
        return None, None

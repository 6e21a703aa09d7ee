"""The worker's handle on its engine process: starts it, drives it, notices when it is gone."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from worker.engines import (
    Cancelled,
    Checkpoint,
    EngineFault,
    OnPreview,
    Order,
    OutOfMemory,
    Result,
    TimedOut,
    Tuning,
    UnusableLora,
    Withheld,
)
from worker.engines.errors import EngineError, WeightsError
from worker.environment import child_environment
from worker.pace import Pace
from worker.wire import (
    Broken,
    Cancel,
    Done,
    Failed,
    FailureKind,
    Generate,
    Loading,
    Message,
    Preview,
    Ready,
    Step,
    Stopped,
    Wire,
    map_pictures,
)

STOP_S = 2.0  # how long an order that ran too long may take to stop, before its process is killed
_TAIL_LINES = 60
_FAILURES: dict[FailureKind, type[EngineError]] = {
    FailureKind.OUT_OF_MEMORY: OutOfMemory,
    FailureKind.INPUT: UnusableLora,
    FailureKind.WITHHELD: Withheld,
    FailureKind.FAULT: EngineFault,
}


class ChildDied(EngineError):
    """The engine process ended unexpectedly."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail
        """The last lines it wrote."""


class ChildGone(ChildDied):
    """The engine process had ended before it was given the order."""


class ChildHung(ChildDied):
    """The engine process showed no sign of life and was killed."""


class EngineChild:
    """One engine process. One thread drives it; any thread may cancel or kill."""

    def __init__(  # noqa: PLR0913 -- all but the weights by name
        self,
        weights: Path,
        *,
        loras: Path | None = None,
        tuning: Tuning | None = None,
        on_line: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        module: str = "worker.child",
        pace: Pace | None = None,
    ) -> None:
        self._weights = weights.absolute()
        self._loras = loras.absolute() if loras else None
        self._tuning = tuning or Tuning()
        self._module = module
        self._pace = pace or Pace()
        self._on_line = on_line or _to_stderr
        self._environ = os.environ if environ is None else environ
        self._ids = itertools.count(1)
        self._current: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._wire: Wire | None = None
        self._pump: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._driving = threading.Lock()
        self._is_ready = False
        self._expected: tuple[float, float] | None = None  # when, and how long from then
        self.drawn = 0
        """How many orders it has drawn, by all its processes."""
        # The kernel kills the child when the *thread* that started it ends: this one stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="engine-starter")

    @property
    def pid(self) -> int | None:
        """The process id, or None before `start`."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """True while the process runs, ready or not."""
        return self._process is not None and self._process.poll() is None

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
        return "\n".join(self._tail)

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` waits for the weights."""
        if self.alive:
            return
        self.kill()  # frees what a process that died by itself left here
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", self._module]
        command += ["--fd", str(theirs.fileno()), "--weights", str(self._weights)]
        command += ["--parent", str(os.getpid()), "--tuning", self._tuning.to_json()]
        command += ["--loras", str(self._loras)] if self._loras else []
        self._tail.clear()
        try:
            self._process = self._starter.submit(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=child_environment(self._environ),
                pass_fds=(theirs.fileno(),),
            ).result()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._wire = Wire(ours)
        self._pump = threading.Thread(target=self._read_lines, name="engine-output", daemon=True)
        self._pump.start()

    def wait_ready(
        self, timeout_s: float, on_phase: Callable[[str], None] = lambda _phase: None
    ) -> Checkpoint:
        """Wait until it has loaded and drawn its first pictures; `on_phase` hears how far it is.

        It may be silent for `timeout_s` between two phases. Raises `WeightsError` when the weights cannot be served, `ChildDied` and `ChildHung`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message, _ = self._receive(deadline - time.monotonic())
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

        The pictures are read-only views of memory shared with the child. Raises `Cancelled`,
        `EngineFault`, `UnusableLora`, `Withheld` and `OutOfMemory`, after which the child is usable; `ChildDied` when it died,
        `ChildHung` when it was silent for longer than its pace allows and was killed; `TimedOut` after
        `timeout_s` seconds, when it lives on if it obeyed.
        """
        with self._driving:
            order_id = self._current = f"{self.pid}-{next(self._ids)}"
            try:
                self._send_order(Generate(id=order_id, order=order))
                return self._follow(order_id, order, on_step, on_preview, timeout_s)
            except (
                Cancelled,
                EngineFault,
                UnusableLora,
                Withheld,
                OutOfMemory,
                TimedOut,
                ChildDied,
            ):
                raise
            except BaseException:
                self._send_cancel(order_id)  # on_step raised: nobody waits for the rest
                raise
            finally:
                self._current = self._expected = None

    def cancel(self) -> None:
        """Stop what is being drawn, from any thread; `generate` then raises `Cancelled`."""
        if self._current is not None:
            self._send_cancel(self._current)

    def restart(self) -> None:
        """Kill what runs and start afresh; `wait_ready` must follow."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process now, whatever it does; a second time it does nothing."""
        self._is_ready = False
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._pump is not None:
            self._pump.join(timeout=1.0)
        if self._wire is not None:
            self._wire.close()

    def close(self) -> None:
        """End the process and free what this handle holds; it is not to be used again."""
        self.kill()
        self._starter.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(
        self,
        order_id: str,
        order: Order,
        on_step: Callable[[int, int], bool],
        on_preview: OnPreview | None,
        timeout_s: float | None,
    ) -> Result:
        given_up = False
        silence_s = self._pace.silence_s(order)
        ends_at = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
        steps_at: list[float] = []
        while True:
            message, fd = self._receive_in_time(order_id, silence_s, ends_at)
            if getattr(message, "id", None) != order_id:
                if fd is not None:
                    os.close(fd)  # what an earlier order left behind
                continue
            if isinstance(message, Step):
                steps_at.append(time.monotonic())
                self._expect(message, steps_at)
                if not given_up and not on_step(message.k, message.n):
                    given_up = True
                    self._send_cancel(order_id)
            elif isinstance(message, Preview) and on_preview is not None:
                on_preview(message.picture)
            elif isinstance(message, Done) and fd is not None:
                result = map_pictures(fd, message)
                self._pace.learn(order, result, steps_at)
                self.drawn += 1
                if given_up:
                    raise Cancelled
                return result
            elif isinstance(message, Stopped | Failed):
                raise _end_of(message)

    def _expect(self, step: Step, steps_at: list[float]) -> None:
        if len(steps_at) > 1:
            each_s = (steps_at[-1] - steps_at[0]) / (len(steps_at) - 1)
            self._expected = steps_at[-1], each_s * (step.n - step.k)

    def _receive_in_time(
        self, order_id: str, silence_s: float, ends_at: float
    ) -> tuple[Message, int | None]:
        left_s = ends_at - time.monotonic()
        if left_s <= 0 or (left_s <= silence_s and not self._speaks_within(left_s)):
            self._stop_late(order_id)
            raise TimedOut
        return self._receive(silence_s)

    def _speaks_within(self, seconds: float) -> bool:
        return self._wire is None or self._wire.is_readable(max(seconds, 0))

    def _stop_late(self, order_id: str) -> None:
        """Stop what took too long: at its next step if that comes soon, else with its process."""
        self._send_cancel(order_id)
        ends_at = time.monotonic() + STOP_S
        while self._speaks_within(ends_at - time.monotonic()):
            message, fd = self._receive(STOP_S)
            if fd is not None:
                os.close(fd)
            is_over = isinstance(message, Stopped | Done | Failed)
            if is_over and getattr(message, "id", None) == order_id:
                return
        self.kill()

    def _receive(self, timeout_s: float) -> tuple[Message, int | None]:
        if self._wire is None:
            raise ChildDied("the engine process was not started", "")
        try:
            return self._wire.receive(max(timeout_s, 0.001))
        except TimeoutError as exc:
            raise self._hung(timeout_s) from exc
        except (EOFError, OSError) as exc:
            raise self._died() from exc

    def _send_order(self, order: Generate) -> None:
        if self._wire is None:
            raise ChildGone("the engine process was not started", "")
        try:
            self._wire.send(order)
        except OSError as exc:
            died = self._died()
            raise ChildGone(str(died), died.tail) from exc

    def _send_cancel(self, order_id: str) -> None:
        if self._wire is not None:
            with contextlib.suppress(OSError):  # dead: `receive` says so
                self._wire.send(Cancel(id=order_id))

    def _died(self) -> ChildDied:
        self.kill()
        code = self._process.returncode if self._process else 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return ChildDied(f"the engine process ended with {how}", self.tail)

    def _hung(self, silent_s: float) -> ChildHung:
        if self._process is not None and self._pump is not None:
            self._process.send_signal(signal.SIGUSR1)  # it writes where it hangs
            self._pump.join(timeout=0.5)
        self.kill()
        return ChildHung(f"the engine process was silent for {silent_s:.0f} s", self.tail)

    def _read_lines(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._tail.append(line.rstrip("\n"))
                self._on_line(line.rstrip("\n"))


def _to_stderr(line: str) -> None:
    print(f"engine: {line}", file=sys.stderr)  # noqa: T201  # the process's own output, passed on


def _end_of(message: Stopped | Failed) -> EngineError:
    if isinstance(message, Stopped):
        return Cancelled()
    return _FAILURES[message.kind](message.message)

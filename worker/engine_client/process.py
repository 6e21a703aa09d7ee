"""The engine's process as the worker holds it: starts it, speaks with it, ends it; what is said is `worker.engine_client.client`'s."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from worker.engine_client.environment import engine_environment
from worker.engine_process.protocol import EngineConnection, Message
from worker.engines import EngineError

_TAIL_LINES = 60


class EngineDied(EngineError):
    """The engine process ended unexpectedly."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail
        """The last lines it wrote."""


class EngineGone(EngineDied):
    """The engine process had ended before it was given the order."""


class EngineHung(EngineDied):
    """The engine process showed no sign of life and was killed."""


class EngineProcess:
    """One process after the other, each with a socket; one thread receives, any may send or kill."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environ: Mapping[str, str] | None,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._environ = os.environ if environ is None else environ
        self._on_line = on_line or _to_stderr
        self._process: subprocess.Popen[str] | None = None
        self._connection: EngineConnection | None = None
        self._pump: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        # The kernel kills the child when the *thread* that started it ends: this one stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="engine-starter")

    @property
    def pid(self) -> int | None:
        """The process id, or None before `start`."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def tail(self) -> str:
        """The last lines the process wrote."""
        return "\n".join(self._tail)

    def start(self) -> None:
        """Start the process and return at once; nothing is done where one runs."""
        if self.alive:
            return
        self.kill()  # frees what a process that died by itself left here
        ours, theirs = socket.socketpair()
        ends = ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
        self._tail.clear()
        try:
            self._process = self._starter.submit(
                subprocess.Popen,
                [*self._command, *ends],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=engine_environment(self._environ),
                pass_fds=(theirs.fileno(),),
            ).result()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection = EngineConnection(ours)
        self._pump = threading.Thread(target=self._read_lines, name="engine-output", daemon=True)
        self._pump.start()

    def kill(self) -> None:
        """End the process now, whatever it does; a second time it does nothing."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._pump is not None:
            self._pump.join(timeout=1.0)
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """End the process and free what this handle holds; it is not to be used again."""
        self.kill()
        self._starter.shutdown()

    def send(self, message: Message) -> None:
        """Say something. Raises EngineGone where nobody hears it."""
        if self._connection is None:
            raise EngineGone("the engine process was not started", "")
        try:
            self._connection.send(message)
        except OSError as exc:
            died = self.died()
            raise EngineGone(str(died), died.tail) from exc

    def mention(self, message: Message) -> None:
        """Say something that needs no hearer: where the process is dead, `receive` says so."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.send(message)

    def receive(self, timeout_s: float) -> tuple[Message, int | None]:
        """Wait for a message, and the file that came with it. Raises EngineDied and EngineHung."""
        if self._connection is None:
            raise EngineDied("the engine process was not started", "")
        try:
            return self._connection.receive(max(timeout_s, 0.001))
        except TimeoutError as exc:
            raise self._hung(timeout_s) from exc
        except (EOFError, OSError) as exc:
            raise self.died() from exc

    def speaks_within(self, seconds: float) -> bool:
        """Wait so long for a message, and leave it there."""
        return self._connection is None or self._connection.is_readable(max(seconds, 0))

    def died(self) -> EngineDied:
        """Make sure that it is dead, and say how it ended."""
        self.kill()
        code = self._process.returncode if self._process else 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return EngineDied(f"the engine process ended with {how}", self.tail)

    def _hung(self, silent_s: float) -> EngineHung:
        if self._process is not None and self._pump is not None:
            self._process.send_signal(signal.SIGUSR1)  # it writes where it hangs
            self._pump.join(timeout=0.5)
        self.kill()
        return EngineHung(f"the engine process was silent for {silent_s:.0f} s", self.tail)

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

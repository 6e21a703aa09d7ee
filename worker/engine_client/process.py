"""Starts, stops and talks to the engine process. `worker.engine_client.client` decides what to send."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from worker.engine_client.environment import engine_environment
from worker.engine_process.connection import EngineConnection
from worker.engine_process.protocol import Message
from worker.engines import EngineError

SEND_S = 60.0
"""How long a process may read nothing of a message before it counts as gone. One at work reads at each step."""
_OUTPUT_LINES = 60


class EngineDied(EngineError):
    """The engine process ended unexpectedly."""

    def __init__(self, message: str, last_output: str) -> None:
        super().__init__(message)
        self.last_output = last_output
        """The last lines that the process wrote."""


class EngineGone(EngineDied):
    """The engine process had ended before it received the request."""


class EngineHung(EngineDied):
    """The engine process sent nothing, or finished no step, for too long and was killed."""


class EngineProcess:
    """Runs one engine process at a time, with a socket to it. One thread receives, any thread may send or kill."""

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
        self._output_reader: threading.Thread | None = None
        self._output: deque[str] = deque(maxlen=_OUTPUT_LINES)
        # The kernel kills the child when the *thread* that started it ends, so this thread never ends.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="engine-starter")
        self._is_closed = False
        self._was_killed_here = False
        self.started_s = 0.0
        """When the latest process was started, on the monotonic clock."""

    @property
    def pid(self) -> int | None:
        """The process id. None before `start`."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def last_output(self) -> str:
        """The last lines that the process wrote."""
        return "\n".join(self._output)

    def start(self) -> None:
        """Start the process without waiting for it. Does nothing if one runs. Raises EngineDied after `close`."""
        if self.alive:
            return
        self.kill()  # closes the socket of a process that died by itself
        self.started_s = time.monotonic()
        parent_end, child_end = socket.socketpair()
        ends = ["--fd", str(child_end.fileno()), "--parent", str(os.getpid())]
        self._output.clear()
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
                pass_fds=(child_end.fileno(),),
            ).result()
        except BaseException as exc:
            parent_end.close()
            if self._is_closed:
                raise EngineDied("the worker is stopping", "") from exc
            raise
        finally:
            child_end.close()
        self._connection = EngineConnection(parent_end, SEND_S)
        self._was_killed_here = False
        self._output_reader = threading.Thread(
            target=self._read_output, name="engine-output", daemon=True
        )
        self._output_reader.start()

    def kill(self) -> None:
        """Kill the process. Does nothing if none runs."""
        if self._process is None:
            return
        self._was_killed_here |= self.alive
        self._process.kill()
        self._process.wait()
        if self._output_reader is not None:
            self._output_reader.join(timeout=1.0)
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Kill the process and free all resources. This object cannot be used again."""
        self._is_closed = True
        self._starter.shutdown()  # first: no thread starts another process from now on
        self.kill()

    def send(self, message: Message) -> None:
        """Send a message. Raises EngineGone if the process has ended, after reaping it."""
        if self._connection is None:
            raise EngineGone("the engine process was not started", "")
        try:
            self._connection.send(message)
        except OSError as exc:
            died = self.reap()
            raise EngineGone(str(died), died.last_output) from exc

    def try_send(self, message: Message) -> None:
        """Send a message. Ignores a dead process, because `receive` reports it."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.send(message)

    def receive(self, timeout_s: float) -> tuple[Message, int | None]:
        """Wait for a message as `receive_within` does. Raises EngineHung if nothing came in time, after killing the process."""
        received = self.receive_within(timeout_s)
        if received is None:
            raise self.kill_hung(f"was silent for {timeout_s:.0f} s")
        return received

    def receive_within(self, timeout_s: float) -> tuple[Message, int | None] | None:
        """Wait up to this long for a message and its file descriptor, if it has one.

        Raises EngineDied if the process has ended, after reaping it.
        """
        if self._connection is None:
            raise EngineDied("the engine process was not started", "")
        try:
            return self._connection.receive(max(timeout_s, 0))
        except TimeoutError:
            return None
        except (EOFError, OSError) as exc:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(1)  # the socket closes shortly before the process ends
            raise self.reap() from exc

    def reap(self) -> EngineDied:
        """Kill the process if it still runs, and return how it ended."""
        self.kill()
        code = self._process.returncode if self._process else 0
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL and not self._was_killed_here:
            reason += "; so the system ends a process when memory runs out (`klein doctor` says what the weights need)"
        return EngineDied(f"the engine process ended with {reason}", self.last_output)

    def kill_hung(self, symptom: str) -> EngineHung:
        """Kill the process after it wrote its stack, and return an error with this symptom."""
        if self._process is not None and self._output_reader is not None:
            self._process.send_signal(signal.SIGUSR1)  # writes the stack trace of the main thread
            self._output_reader.join(timeout=0.5)
        self.kill()
        return EngineHung(f"the engine process {symptom}", self.last_output)

    def _read_output(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._output.append(line.rstrip("\n"))
                self._on_line(line.rstrip("\n"))


def _to_stderr(line: str) -> None:
    print(f"engine: {line}", file=sys.stderr)  # noqa: T201 -- forwards the output of the process

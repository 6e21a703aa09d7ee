"""Start and end the processes of the tests: the only module that calls `subprocess`, so that no process outlives its test."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

RUN_S = 50.0
"""The longest that `run` waits by default: less than the limit of a test that starts processes."""

Process = subprocess.Popen[Any]
Completed = subprocess.CompletedProcess[str]
Command = Sequence[str | Path]


def start(command: Command, **options: Any) -> Process:
    """Start a process that an object holds; whoever owns the object calls `end`."""
    return subprocess.Popen(command, **options)


def end(process: Process) -> None:
    """Kill a process and all its descendants, those in sessions of their own included; close its pipes."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # it starts nothing more
        below = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in below:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError, ValueError):  # ValueError: a thread reads it still
                pipe.close()


@contextmanager
def started(command: Command, **options: Any) -> Iterator[Process]:
    """Start a process, and end it when the body ends, in whatever way.

    `with subprocess.Popen(...)` does not: on an exception, a test's time limit among them, it waits for the process.
    """
    process = start(command, **options)
    try:
        yield process
    finally:
        end(process)


def run(
    command: Command,
    *,
    timeout_s: float = RUN_S,
    check: bool = False,
    input: str | None = None,  # noqa: A002 -- as subprocess calls it
    **options: Any,
) -> Completed:
    """Run a command to its end and return its output as text. Raises TimeoutExpired, and CalledProcessError if `check`."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        pipes["stdin"] = subprocess.PIPE
    with started(command, text=True, **pipes | options) as process:
        output, errors = process.communicate(input, timeout_s)
    completed = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        completed.check_returncode()
    return completed

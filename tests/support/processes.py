"""Starts and ends the processes of the tests. The only module that calls `subprocess`, so that no process outlives its test."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package

RUN_S = 110.0
"""The default time limit of `run`: shorter than the limit of a test that starts processes."""

Process = subprocess.Popen[Any]
Completed = subprocess.CompletedProcess[str]
Command = Sequence[str | Path]


def start(command: Command, **options: Any) -> Process:
    """Start a process that an object holds. The owner of the object calls `end`."""
    return subprocess.Popen(command, **options)


def end(process: Process) -> None:
    """Kill a process and all its descendants, including those in sessions of their own. Close its pipes."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # a stopped process starts no more children
        below = _descendants(process)
        process.kill()
        _kill(below)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError, ValueError):  # ValueError: a thread is still reading it
                pipe.close()


def stop(process: Process, within_s: float) -> None:
    """Terminate a process, wait for its end, and kill the descendants that it leaves. Raises TimeoutExpired."""
    below = _descendants(process)
    process.terminate()
    try:
        process.wait(within_s)
    finally:
        _kill(below)


def _descendants(process: Process) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _kill(others: list[psutil.Process]) -> None:
    for other in others:
        with suppress(psutil.NoSuchProcess):  # it has ended, also if its id is that of another now
            other.kill()


@contextmanager
def started(command: Command, **options: Any) -> Iterator[Process]:
    """Start a process, and end it when the body ends, also on an exception.

    `with subprocess.Popen(...)` does not: on an exception, such as a test's time limit, it waits for the process.
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
    input: str | None = None,  # noqa: A002 -- the name that subprocess uses
    **options: Any,
) -> Completed:
    """Run a command until it ends and return its output as text. Raises TimeoutExpired, and CalledProcessError if `check`."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        pipes["stdin"] = subprocess.PIPE
    with started(command, text=True, **pipes | options) as process:
        output, errors = process.communicate(input, timeout_s)
    completed = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        completed.check_returncode()
    return completed

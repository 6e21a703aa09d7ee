"""Runs processes as one tree with one log: restarts those that end, and stops all together."""

import asyncio
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import click

from app.log_format import LogFormat
from app.log_lines import read_lines

STABLE_S = 10.0  # a process that ran for longer restarts without a pause
RESTART_PAUSE_MAX_S = 30.0
LAST_LINES_S = 1.0  # to print what a process wrote before it ended
STARTS = 5  # before the system is ready
_COLOURS = ("cyan", "green", "magenta", "yellow")


@dataclass(slots=True, kw_only=True)
class Child:
    """One process of the tree and its state."""

    name: str
    command: list[str]
    environ: dict[str, str]
    colour: str
    log_format: LogFormat
    process: asyncio.subprocess.Process | None = None
    noise: tuple[str, ...] = ()  # lines with one of these are not printed
    exits: int = 0  # in quick succession
    started_at: float = 0.0
    last_line_at: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def log(self, line: str) -> None:
        """Print one line of its log: text after its name, JSON as it is."""
        self.last_line_at = time.monotonic()
        if any(noise in line for noise in self.noise):
            return
        if self.log_format is LogFormat.JSON:
            click.echo(line if line.startswith("{") else _event_of(self.name, line), err=True)
        else:
            click.echo(f"{click.style(f'{self.name:8}', fg=self.colour)} {line}", err=True)


class ProcessTree:
    """Starts processes, restarts those that end, and stops all together."""

    def __init__(self, environ: dict[str, str], log_format: LogFormat, stop_s: float) -> None:
        self._environ = environ
        self._log_format = log_format
        self._stop_s = stop_s
        self._children: list[Child] = []
        self.stopping = asyncio.Event()
        self.is_ready = False  # until then, a process that ends STARTS times ends the tree
        self.failure: str | None = None

    async def add(
        self,
        name: str,
        command: list[str],
        *,
        noise: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
    ) -> None:
        """Start a process and keep it running. `environ` holds variables for this process only."""
        child = Child(
            name=name,
            command=command,
            environ=self._environ | (environ or {}),
            colour=_COLOURS[len(self._children) % len(_COLOURS)],
            log_format=self._log_format,
            noise=noise,
        )
        self._children.append(child)
        await self._start(child)

    def silent_s(self, name: str) -> float:
        """Return the time since the process was started or logged its last line."""
        child = next(child for child in self._children if child.name == name)
        return time.monotonic() - max(child.started_at, child.last_line_at)

    async def stop(self) -> None:
        """Stop all processes. Redis comes last, because the others still write to it."""
        self.stopping.set()
        for group in (self._children[1:], self._children[:1]):
            await asyncio.gather(*(self._stop(child) for child in group))

    async def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        lines, output = os.pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.command,
                env=child.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches only this process, which stops the others
            )
        except BaseException:
            os.close(lines)
            raise
        finally:
            os.close(output)
        task = asyncio.create_task(self._follow(child, child.process, lines))
        child.tasks.add(task)
        task.add_done_callback(child.tasks.discard)

    async def _follow(self, child: Child, process: asyncio.subprocess.Process, lines: int) -> None:
        last, reason = "", None
        try:
            async for last in read_lines(lines):
                child.log(last)
                text = last.removeprefix("Error: ")
                if text.startswith("klein "):
                    reason = text  # also if its engine process writes another line after it
        finally:
            os.close(lines)
        code = await process.wait()
        if self.stopping.is_set():
            return
        is_stable = time.monotonic() - child.started_at > STABLE_S
        child.exits = 1 if self.is_ready and is_stable else child.exits + 1
        if not self.is_ready and child.exits == 1 and reason is not None:
            self.failure = reason  # its own message says why it cannot run
            self.stopping.set()
            return
        if not self.is_ready and child.exits == STARTS:
            self.failure = f"{child.name} ended {STARTS} times before klein was ready: {last}"
            self.stopping.set()
            return
        pause = min(2.0 ** (child.exits - 1) - 1, RESTART_PAUSE_MAX_S)
        child.log(f"ended with code {code}; restarting in {pause:.0f} s")
        await asyncio.sleep(pause)
        if not self.stopping.is_set():
            await self._start(child)

    async def _stop(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_s)
        except TimeoutError:
            child.log("did not stop in time; killing it")
            process.kill()
            await process.wait()
        if child.tasks:
            await asyncio.wait(child.tasks, timeout=LAST_LINES_S)


def _event_of(process: str, line: str) -> str:
    """Write a line that is no event of klein, such as one of Redis, as an event."""
    event = {"line": line, "event": "process_output", "process": process, "level": "info"}
    return json.dumps(event | {"timestamp": datetime.now(UTC).isoformat()})

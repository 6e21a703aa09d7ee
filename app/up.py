"""Runs the whole system as one process tree, with one log and one Ctrl-C."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

import click
import redis

from app.connections import open_redis
from app.embedded import SOCKET_PATH_MAX, server_command
from app.keys import configured_keys, create_first_key, weak_key_problem
from app.log_format import LogFormat
from app.log_lines import read_lines
from app.private_files import PRIVATE, make_private
from app.settings import Settings

SILENT_S = 900.0  # without a line of the worker before it is ready
KILL_AFTER_S = 15.0  # after KLEIN_GRACE
READY_POLL_S = 0.25
READY_S = 10.0  # for one answer
STABLE_S = 10.0  # a process that ran for longer restarts without a pause
RESTART_PAUSE_MAX_S = 30.0
STARTS = 5  # before the system is ready
_COLOURS = ("cyan", "green", "magenta", "yellow")
# what the embedded Redis says at each start and stop, which concerns nobody at a terminal
_REDIS_NOISE = ("Memory overcommit must be enabled", "signal-handler", "ready to exit")


@dataclass(slots=True, kw_only=True)
class Child:
    """One process of the tree and its state."""

    name: str
    command: list[str]
    environ: dict[str, str]
    colour: str
    process: asyncio.subprocess.Process | None = None
    noise: tuple[str, ...] = ()  # lines with one of these are not printed
    exits: int = 0  # in quick succession
    started_at: float = 0.0
    last_line_at: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def log(self, line: str) -> None:
        """Print one line of its log, after its name."""
        self.last_line_at = time.monotonic()
        if any(noise in line for noise in self.noise):
            return
        click.echo(f"{click.style(f'{self.name:8}', fg=self.colour)} {line}", err=True)


class ProcessTree:
    """Starts processes, restarts those that end, and stops all together."""

    def __init__(self, environ: dict[str, str], stop_s: float) -> None:
        self._environ = environ
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
        child.process = await asyncio.create_subprocess_exec(
            *child.command,
            env=child.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which stops the others
        )
        task = asyncio.create_task(self._follow(child, child.process))
        child.tasks.add(task)
        task.add_done_callback(child.tasks.discard)

    async def _follow(self, child: Child, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 -- PIPE above
        last = ""
        async for last in read_lines(process.stdout):
            child.log(last)
        code = await process.wait()
        if self.stopping.is_set():
            return
        is_stable = time.monotonic() - child.started_at > STABLE_S
        child.exits = 1 if self.is_ready and is_stable else child.exits + 1
        if (
            not self.is_ready
            and child.exits == 1
            and last.removeprefix("Error: ").startswith("klein ")
        ):  # its own message says why it cannot run
            self.failure = last.removeprefix("Error: ")
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


async def up(settings: Settings) -> None:
    """Run the system until Ctrl-C or SIGTERM. Raises click.ClickException if it cannot start."""
    os.umask(PRIVATE)
    if problem := weak_key_problem(settings.api_keys):
        raise click.ClickException(problem)
    _check_port(settings)
    _check_data(settings)
    key = (
        None
        if configured_keys(settings.api_keys, settings.data)
        else create_first_key(settings.data)
    )
    log_format = settings.log_format.settle()
    environ = os.environ | {
        "KLEIN_DATA": str(settings.data.resolve()),
        "REDIS_URL": settings.redis,
        "KLEIN_LOG_FORMAT": log_format,
    }
    tree = ProcessTree(environ, stop_s=settings.grace.total_seconds() + KILL_AFTER_S)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tree.stopping.set)
    try:
        if settings.redis_url is None:
            _check_socket(settings)
            noise = _REDIS_NOISE if log_format is LogFormat.TEXT else ()
            await tree.add("redis", server_command(settings.redis_socket), noise=noise)
        await _wait_for_redis(settings, tree)
        # the api has /metrics on its own port
        await tree.add("api", _command("api"), environ={"KLEIN_METRICS_PORT": ""})
        await tree.add("worker", _command("worker"))
        variables = (
            {"KLEIN_METRICS_PORT": str(settings.metrics_port + 1)} if settings.metrics_port else {}
        )
        await tree.add("courier", _command("courier"), environ=variables)
        await _wait_until_ready(settings, tree)
        tree.is_ready = not tree.stopping.is_set()
        if tree.is_ready:
            click.echo(_welcome(settings, key))
        await tree.stopping.wait()
    finally:
        await tree.stop()
    if tree.failure:
        raise click.ClickException(tree.failure)


def _command(name: str) -> list[str]:
    # -P: a folder app/ of the user's own in the current directory is not this package
    return [sys.executable, "-P", "-m", "app.cli", name]


def _check_port(settings: Settings) -> None:
    try:
        with socket.create_server((settings.host, settings.port)):
            pass
    except OSError as exc:
        raise click.ClickException(
            f"cannot listen on {settings.host}:{settings.port} ({os.strerror(exc.errno or 0)}); "
            "set KLEIN_HOST and KLEIN_PORT to a free address"
        ) from None


def _check_data(settings: Settings) -> None:
    try:
        make_private(settings.data)
        with tempfile.TemporaryFile(dir=settings.data):
            pass
    except OSError as exc:
        raise click.ClickException(
            f"cannot write to {settings.data} ({os.strerror(exc.errno or 0)}); set KLEIN_DATA"
        ) from None


def _check_socket(settings: Settings) -> None:
    if len(os.fsencode(settings.redis_socket)) > SOCKET_PATH_MAX:
        raise click.ClickException(
            f"{settings.data.resolve()} is too long for the path of a Unix socket; set KLEIN_DATA to a shorter path"
        )
    with suppress(redis.RedisError), open_redis(settings.redis) as running:
        running.ping()
        raise click.ClickException(
            f"another `klein up` uses {settings.data.resolve()}; stop it, or set KLEIN_DATA"
        )


async def _wait_for_redis(settings: Settings, tree: ProcessTree) -> None:
    error = ""
    for _ in range(100):
        if tree.stopping.is_set():
            return
        try:
            with open_redis(settings.redis, timeout_s=2, retry=None) as connection:
                connection.ping()
        except redis.exceptions.BusyLoadingError:
            pass  # it loads its data, which may take long
        except (redis.RedisError, ValueError) as exc:
            error = str(exc)
            if settings.redis_url is not None and not isinstance(exc, redis.ConnectionError):
                break
        else:
            return
        await asyncio.sleep(0.05)
    raise click.ClickException(
        f"Redis does not answer at {settings.redis_shown}: {error}; set REDIS_URL"
    )


async def _wait_until_ready(settings: Settings, tree: ProcessTree) -> None:
    # a download may take hours, and the worker logs its progress
    while tree.silent_s("worker") < SILENT_S:
        if tree.stopping.is_set() or await asyncio.to_thread(_is_ready, settings.address):
            return
        await asyncio.sleep(READY_POLL_S)
    raise click.ClickException(
        f"the worker is not ready and has logged nothing for {SILENT_S:.0f} s; see the log above"
    )


def _is_ready(address: str) -> bool:
    """Return whether a worker is ready, as the API says."""
    direct = build_opener(ProxyHandler({}))
    try:
        direct.open(f"{address}/readyz", timeout=READY_S).close()
    except (OSError, HTTPException):  # an HTTP error is an OSError as well
        return False
    return True


def _welcome(settings: Settings, key: str | None) -> str:
    url = settings.public_url or settings.address
    example_key = key or "YOUR_KEY"  # only a new key is printed: the output may end up in a log
    page = f"{url}/#key={key}" if key else url  # browsers do not send what follows the #
    if key is not None:
        about_key = f"{key}   (shown only now; klein stores its hash)"
    elif settings.api_keys:
        about_key = "any of KLEIN_API_KEYS"
    else:
        about_key = (
            f"the one that the first start showed; delete {settings.data / 'keys'} to get a new one"
        )
    return f"""
klein is ready.
  URL  {url}
  key  {about_key}
  page {page}

  curl -s {url}/v1/prediction/run -H 'X-API-Key: {example_key}' \\
    -d '{{"model": "flux-2-klein-4b-text-to-image", "input": {{"prompt": "a red circle on a blue background"}}}}'

The response contains the URL of the image. Ctrl-C stops everything.
"""

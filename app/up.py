"""`klein up`: the whole system as one process tree, with one log and one Ctrl-C."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field

import click
import httpx
import redis

from app.connections import open_redis
from app.embedded import SOCKET_PATH_MAX, server_command
from app.keys import given_keys, make_key
from app.settings import Settings

READY_S = 900.0
KILL_AFTER_S = 15.0  # beyond the grace, the stragglers are killed
STABLE_S = 10.0  # what has lived for so long starts again at once
RESTART_MOST_S = 30.0
STARTS = 5
_COLOURS = ("cyan", "green", "magenta", "yellow")


@dataclass(slots=True, kw_only=True)
class Part:
    """One process of the tree and how it is doing."""

    name: str
    command: list[str]
    environ: dict[str, str]
    colour: str
    process: asyncio.subprocess.Process | None = None
    deaths: int = 0  # in quick succession
    started_at: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def say(self, line: str) -> None:
        """Pass on one line of its log, under its name."""
        click.echo(f"{click.style(f'{self.name:8}', fg=self.colour)} {line}", err=True)


class ProcessTree:
    """Starts the parts, restarts what dies, stops all of them together."""

    def __init__(self, environ: dict[str, str], stop_s: float) -> None:
        self._environ = environ
        self._stop_s = stop_s
        self._parts: list[Part] = []
        self.stopping = asyncio.Event()
        self.is_ready = False  # until then, what dies again and again ends the tree
        self.failure: str | None = None

    async def add(self, name: str, command: list[str], **environ: str) -> None:
        """Start a part and keep it running; `environ` is what it alone is told."""
        part = Part(
            name=name,
            command=command,
            environ=self._environ | environ,
            colour=_COLOURS[len(self._parts) % len(_COLOURS)],
        )
        self._parts.append(part)
        await self._start(part)

    async def stop(self) -> None:
        """Stop the parts, the last one first, so that nothing loses its Redis while it finishes."""
        self.stopping.set()
        for group in (self._parts[1:], self._parts[:1]):
            await asyncio.gather(*(self._stop(part) for part in group))

    async def _start(self, part: Part) -> None:
        part.started_at = time.monotonic()
        part.process = await asyncio.create_subprocess_exec(
            *part.command,
            env=part.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the parts
        )
        task = asyncio.create_task(self._follow(part, part.process))
        part.tasks.add(task)
        task.add_done_callback(part.tasks.discard)

    async def _follow(self, part: Part, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 -- it was asked for above
        last = ""
        with suppress(
            ValueError
        ):  # a line over the limit: the rest of the log is lost, not the process
            async for line in process.stdout:
                last = line.decode(errors="replace").rstrip()
                part.say(last)
        code = await process.wait()
        if self.stopping.is_set():
            return
        is_stable = time.monotonic() - part.started_at > STABLE_S
        part.deaths = 1 if self.is_ready and is_stable else part.deaths + 1
        if (
            not self.is_ready
            and part.deaths == 1
            and last.removeprefix("Error: ").startswith("klein ")
        ):  # its own word on why it cannot run
            self.failure = last.removeprefix("Error: ")
            self.stopping.set()
            return
        if not self.is_ready and part.deaths == STARTS:
            self.failure = f"{part.name} ended {STARTS} times before klein was ready: {last}"
            self.stopping.set()
            return
        pause = min(2.0 ** (part.deaths - 1) - 1, RESTART_MOST_S)
        part.say(f"ended with code {code}; starts again in {pause:.0f} s")
        await asyncio.sleep(pause)
        if not self.stopping.is_set():
            await self._start(part)

    async def _stop(self, part: Part) -> None:
        process = part.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_s)
        except TimeoutError:
            part.say("did not stop in time and is killed")
            process.kill()
            await process.wait()


async def up(settings: Settings) -> None:
    """Run the tree until Ctrl-C or SIGTERM. Raises click.ClickException where it cannot run."""
    _check_port(settings)
    _check_data(settings)
    key = None if given_keys(settings.api_keys, settings.data) else make_key(settings.data)
    environ = os.environ | {"KLEIN_DATA": str(settings.data.resolve()), "REDIS_URL": settings.redis}
    tree = ProcessTree(environ, stop_s=settings.grace.total_seconds() + KILL_AFTER_S)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tree.stopping.set)
    try:
        if settings.redis_url is None:
            _check_socket(settings)
            await tree.add("redis", server_command(settings.redis_socket))
        await _wait_for_redis(settings, tree)
        for name in ("api", "worker"):
            await tree.add(name, _command(name))
        own = (
            {"KLEIN_METRICS_PORT": str(settings.metrics_port + 1)} if settings.metrics_port else {}
        )
        await tree.add("courier", _command("courier"), **own)
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
        settings.data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data):
            pass
    except OSError as exc:
        raise click.ClickException(
            f"cannot write to {settings.data} ({os.strerror(exc.errno or 0)}); set KLEIN_DATA"
        ) from None


def _check_socket(settings: Settings) -> None:
    if len(os.fsencode(settings.redis_socket)) > SOCKET_PATH_MAX:
        raise click.ClickException(
            f"{settings.data.resolve()} is too long a path for a socket; set KLEIN_DATA to a shorter one"
        )
    with suppress(redis.RedisError), open_redis(settings.redis) as running:
        running.ping()
        raise click.ClickException(f"another `klein up` runs on {settings.data.resolve()}")


async def _wait_for_redis(settings: Settings, tree: ProcessTree) -> None:
    error = ""
    for _ in range(100):
        if tree.stopping.is_set():
            return
        try:
            with open_redis(settings.redis, timeout_s=2, retry=None) as connection:
                connection.ping()
        except redis.exceptions.BusyLoadingError:
            pass  # it reads its file, for as long as that takes
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
    async with httpx.AsyncClient(base_url=settings.address, trust_env=False) as client:
        for _ in range(int(READY_S / 0.1)):
            if tree.stopping.is_set():
                return
            with suppress(httpx.HTTPError):
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
    raise click.ClickException(f"not ready after {READY_S:.0f} s; the log above says why")


def _welcome(settings: Settings, key: str | None) -> str:
    url = settings.public_url or settings.address
    shown = key or "YOUR_KEY"  # what goes here may end in a log
    about_key = {
        True: f"{key}   (shown this once: only its hash is kept)",
        False: "from KLEIN_API_KEYS"
        if settings.api_keys
        else f"the one shown at the first start; delete {settings.data / 'keys'} for a new one",
    }[key is not None]
    return f"""
klein is ready.
  URL  {url}
  key  {about_key}

  curl -s {url}/v1/prediction/run -H 'X-API-Key: {shown}' \\
    -d '{{"model": "flux-2-klein-4b-text-to-image", "input": {{"prompt": "a red circle on a blue background"}}}}'

The answer holds the picture's URL. Ctrl-C stops everything.
"""

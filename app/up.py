"""Runs the whole system as one process tree, with one log and one Ctrl-C."""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

import click
import redis

from app.address import require_free
from app.connections import open_redis
from app.embedded import SOCKET_PATH_MAX, server_command
from app.keys import configured_keys, create_first_key, weak_key_problem
from app.log_format import LogFormat
from app.private_files import PRIVATE, make_private
from app.process_tree import ProcessTree
from app.settings import Settings

SILENT_S = 900.0  # without a line of the worker before it is ready
KILL_AFTER_S = 15.0  # after KLEIN_GRACE
READY_POLL_S = 0.25
READY_S = 10.0  # for one answer
# what the embedded Redis says at each start and stop, which concerns nobody
_REDIS_NOISE = ("Memory overcommit must be enabled", "signal-handler", "ready to exit")


async def up(settings: Settings) -> None:
    """Run the system until Ctrl-C or SIGTERM. Raises click.ClickException if it cannot start."""
    os.umask(PRIVATE)
    if problem := weak_key_problem(settings.api_keys):
        raise click.ClickException(problem)
    try:
        require_free(settings.host, settings.port)
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None
    _check_data(settings)
    key = (
        None
        if configured_keys(settings.api_keys, settings.data)
        else create_first_key(settings.data)
    )
    # a person reads this log also where it is a file or a journal: JSON only if it was chosen
    chosen = settings.log_format
    log_format = LogFormat.TEXT if chosen is LogFormat.AUTO else chosen
    environ = os.environ | {
        "KLEIN_DATA": str(settings.data.resolve()),
        "REDIS_URL": settings.redis,
        "KLEIN_LOG_FORMAT": log_format,
    }
    tree = ProcessTree(environ, log_format, stop_s=settings.grace.total_seconds() + KILL_AFTER_S)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tree.stopping.set)
    try:
        if settings.redis_url is None:
            _check_socket(settings)
            await tree.add("redis", server_command(settings.redis_socket), noise=_REDIS_NOISE)
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

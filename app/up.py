"""Runs the whole system as one process tree, with one log and one Ctrl-C."""

import asyncio
import os
import signal
import sys
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

import click

from app.plan import REDIS_POLL_S, REDIS_TRIES, Plan
from app.private_files import PRIVATE
from app.process_tree import ProcessTree

SILENT_S = 900.0  # without a line of the worker before it is ready
REDIS_S = 2.0  # for one answer
READY_POLL_S = 0.25
READY_S = 10.0  # for one answer
# what the embedded Redis says at each start and stop, which concerns nobody
_REDIS_NOISE = ("Memory overcommit must be enabled", "signal-handler", "ready to exit")


async def up(plan: Plan) -> None:
    """Run the system until Ctrl-C or SIGTERM. Raises click.ClickException if it cannot start."""
    os.umask(PRIVATE)
    tree = ProcessTree(os.environ | plan.environ, plan.log_format, stop_s=plan.stop_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tree.stopping.set)
    try:
        if plan.redis_command:
            await tree.add("redis", plan.redis_command, noise=_REDIS_NOISE)
            await _wait_for_redis(plan.redis_socket, tree)
        # the api has /metrics on its own port
        await tree.add("api", _command("api"), environ={"KLEIN_METRICS_PORT": ""})
        await tree.add("worker", _command("worker"))
        await tree.add("courier", _command("courier"), environ=plan.courier_environ)
        await _wait_until_ready(plan.address, tree)
        tree.is_ready = not tree.stopping.is_set()
        if tree.is_ready:
            click.echo(plan.welcome)
        await tree.stopping.wait()
    finally:
        await tree.stop()
    if tree.failure:
        raise click.ClickException(tree.failure)


def _command(name: str) -> list[str]:
    # -P: a folder app/ of the user's own in the current directory is not this package
    return [sys.executable, "-P", "-m", "app.cli", name]


async def _wait_for_redis(socket: str, tree: ProcessTree) -> None:
    """Wait until the embedded Redis answers. Raises click.ClickException."""
    answer = ""
    for _ in range(REDIS_TRIES):
        if tree.stopping.is_set() or (answer := await _ping(socket)) == "+PONG":
            return
        await asyncio.sleep(REDIS_POLL_S)
    raise click.ClickException(f"Redis does not answer at unix://{socket}: {answer}; set REDIS_URL")


async def _ping(socket: str) -> str:
    """Return the answer of Redis, or why there is none."""
    try:
        async with asyncio.timeout(REDIS_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(b"PING\r\n")
            answer = await reader.readline()
    except OSError as exc:  # a TimeoutError as well
        return str(exc)
    writer.close()
    return answer.decode(errors="replace").strip()


async def _wait_until_ready(address: str, tree: ProcessTree) -> None:
    # a download may take hours, and the worker logs its progress
    while tree.silent_s("worker") < SILENT_S:
        if tree.stopping.is_set() or await asyncio.to_thread(_is_ready, address):
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

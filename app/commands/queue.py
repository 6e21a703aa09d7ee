"""`klein queue`: shows waiting and running predictions, and the workers."""

import os
from pathlib import Path
from typing import Any

import click

from app.commands.client import Server
from app.commands.errors import ServerUnavailable
from app.commands.results import echo_json
from app.commands.server_options import KEY_OPTION, URL_OPTION, find_key, local_url


@click.command()
@URL_OPTION
@KEY_OPTION
@click.option("--json", "is_json", is_flag=True, help="Print the status as one line of JSON.")
def queue(url: str | None, key: str | None, *, is_json: bool) -> None:
    """Show waiting and running predictions, and the workers.

    With an API key the command asks the server. Without one, or if no server answers on this machine, it reads Redis
    (REDIS_URL, or the one that `klein up` started in KLEIN_DATA).
    """
    status = _status(url, find_key(key))
    echo_json(status) if is_json else click.echo("\n".join(_lines(status)))


def _status(url: str | None, key: str | None) -> dict[str, Any]:
    if url is not None and key is None:
        raise click.ClickException("no API key; set KLEIN_API_KEY or use --key")
    if key is not None:
        try:
            return Server(url or local_url(), key).status()
        except ServerUnavailable:
            if url is not None or not _has_redis():
                raise
    if not _has_redis():
        raise ServerUnavailable(
            f"no `klein up` runs with the folder {_data()}; start one, change to its folder, or set KLEIN_URL and KLEIN_API_KEY"
        )
    from app.commands.queue_in_redis import read_status  # noqa: PLC0415 -- its imports are slow

    return read_status()


def _data() -> Path:
    return Path(os.environ.get("KLEIN_DATA") or "data").absolute()


def _has_redis() -> bool:
    return bool(os.environ.get("REDIS_URL")) or (_data() / "redis" / "redis.sock").exists()


def _lines(status: dict[str, Any]) -> list[str]:
    lines, workers = [], status["workers"]
    for line in status["queues"]:
        kind, waiting = line["checkpoint"], line["waiting"]
        if waiting or any(worker["checkpoint"] == kind for worker in workers):
            oldest = f"   oldest {line['oldest_s']:.0f} s" if waiting else ""
            wait_s = line.get("expected_wait_s")
            oldest += (
                f"   next one starts in about {wait_s:.0f} s" if wait_s and wait_s >= 1 else ""
            )
            lines.append(f"waiting   {waiting}   {kind}{oldest}")
    lines += [
        f"running   {status['running']}",
        f"webhooks  {status['webhooks']}   to deliver",
        f"workers   {len({worker.get('process', worker['name']) for worker in workers})}",
    ]
    for worker in workers:
        state = worker.get("state", "ready")  # a server of klein 0.1 does not say
        shown = "" if state == "ready" else f"   {state}"
        lines.append(f"  {worker['name']}   {worker['checkpoint']}   {worker['weights']}{shown}")
    if not workers:
        lines.append("  none: predictions wait until you start `klein worker`")
    return lines

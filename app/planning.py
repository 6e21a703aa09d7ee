"""Makes the plan of `klein up`: reads and checks the settings, and creates the first key. `python -m app.planning` prints it.

It is a process of its own, because what reads settings and speaks with Redis would take 20 MB of `klein up` as long as it runs.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress

import click
import redis

from app.address import require_free
from app.commands.settings import read_settings
from app.commands.variables import unknown_variables
from app.connections import open_redis
from app.embedded import SOCKET_PATH_MAX, NoServer, server_command
from app.keys import configured_keys, create_first_key, weak_key_problem
from app.log_format import LogFormat
from app.plan import REDIS_POLL_S, REDIS_TRIES, Plan
from app.private_files import PRIVATE, make_private
from app.settings import Settings

KILL_AFTER_S = 15.0  # after KLEIN_GRACE


def make_plan(settings: Settings) -> Plan:
    """Check what can be checked before anything starts. Raises click.ClickException."""
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
    if settings.redis_url is None:
        _check_socket(settings)
    else:
        _check_redis(settings)
    return Plan(
        environ={
            "KLEIN_DATA": str(settings.data.resolve()),
            "REDIS_URL": settings.redis,
            "KLEIN_LOG_FORMAT": log_format,
        },
        courier_environ=(
            {"KLEIN_METRICS_PORT": str(settings.metrics_port + 1)} if settings.metrics_port else {}
        ),
        log_format=log_format,
        stop_s=settings.grace.total_seconds() + KILL_AFTER_S,
        address=settings.address,
        redis_command=[] if settings.redis_url else server_command(settings.redis_socket),
        redis_socket=str(settings.redis_socket),
        welcome=_welcome(settings, key),
    )


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


def _check_redis(settings: Settings) -> None:
    """Wait until the operator's Redis answers. Raises click.ClickException."""
    error = ""
    for _ in range(REDIS_TRIES):
        try:
            with open_redis(settings.redis, timeout_s=2, retry=None) as connection:
                connection.ping()
        except redis.exceptions.BusyLoadingError:
            pass  # it loads its data, which may take long
        except (redis.RedisError, ValueError) as exc:
            error = str(exc)
            if not isinstance(exc, redis.ConnectionError):
                break
        else:
            return
        time.sleep(REDIS_POLL_S)
    raise click.ClickException(
        f"Redis does not answer at {settings.redis_shown}: {error}; set REDIS_URL"
    )


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


@click.command()
def main() -> None:
    """Print the plan as JSON."""
    for problem in unknown_variables(os.environ):
        click.echo(f"Warning: {problem}", err=True)
    try:
        plan = make_plan(read_settings())
    except NoServer as exc:
        raise click.ClickException(str(exc)) from None
    sys.stdout.write(plan.to_json())


if __name__ == "__main__":
    main()

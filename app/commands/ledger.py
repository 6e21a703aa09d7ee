"""`klein ledger`: names the accepted predictions that have not ended within their limits."""

import sys

import click

from app.commands.redis_errors import report_redis_errors
from app.commands.results import echo_json
from app.commands.settings import read_settings
from app.commands.table import echo_table
from app.connections import open_redis
from app.durations import parse_duration
from app.predictions.ledger import Ledger


@click.command()
@click.option(
    "--grace",
    default="15m",
    show_default=True,
    metavar="DURATION",
    help="Time beyond the limits that counts as in time: 0s, 15m, 1h.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the entries as one line of JSON.")
def ledger(grace: str, *, is_json: bool) -> None:
    """Name every accepted prediction that has no end, although its limits and the grace are over.

    The command reads Redis (REDIS_URL). Its exit code is 1 if it finds one. A row has the id, the state (queued, running,
    lost or unreadable), and the time by which its queue timeout or run timeout should have ended it.
    """
    try:
        duration = parse_duration(grace)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--grace") from None
    settings = read_settings()
    with (
        report_redis_errors(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        overdue = Ledger(connection).find_overdue(duration)
    rows = [
        (entry.id, str(entry.state), f"{entry.ends_by:%Y-%m-%dT%H:%M:%SZ}") for entry in overdue
    ]
    if is_json:
        names = ("id", "state", "ends_by")
        echo_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        echo_table(("id", "state", "should have ended by"), rows)
    else:
        click.echo("every accepted prediction has ended, or is within its limits")
    sys.exit(1 if rows else 0)

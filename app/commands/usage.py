"""`klein usage`: shows what API keys used, by day and model."""

import csv
import sys
from typing import Any

import click

from app.commands.client import Server
from app.commands.numbers import WholeNumber
from app.commands.results import echo_json
from app.commands.server_options import KEY_OPTION, URL_OPTION, find_key, local_url
from app.commands.table import echo_table

_COLUMNS = ("day", "key", "model", "images", "megapixels", "engine_s", "dollars")


@click.command()
@click.option(
    "--days",
    type=WholeNumber(1, 3660),
    default=30,
    show_default=True,
    help="Days up to today, in UTC.",
)
@click.option(
    "--all-keys", is_flag=True, help="Read the usage of every key from Redis (REDIS_URL)."
)
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV with a line of headings.")
@click.option("--json", "is_json", is_flag=True, help="Print the rows as one line of JSON.")
@URL_OPTION
@KEY_OPTION
def usage(  # noqa: PLR0913 -- one argument an option
    *, days: int, all_keys: bool, is_csv: bool, is_json: bool, url: str | None, key: str | None
) -> None:
    """Show the images, megapixels, engine seconds and dollars of your API key, by day and model.

    With --all-keys an operator sees every key. Dollars are at the price of the hosted API.
    """
    if is_csv and is_json:
        raise click.UsageError("stdout takes either CSV or JSON: leave out --csv or --json")
    rows = _read(days, all_keys=all_keys, url=url, key=key)
    if is_json:
        echo_json(rows)
    elif is_csv:
        writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        sys.stdout.flush()  # an error would come after the command
    elif rows:
        echo_table(
            ("day", "key", "model", "images", "megapixels", "engine s", "dollars"),
            [_cells(row) for row in [*rows, _total(rows)]],
        )
    else:
        click.echo(f"nothing was generated in the last {days} days")


def _read(days: int, *, all_keys: bool, url: str | None, key: str | None) -> list[dict[str, Any]]:
    if all_keys:
        from app.commands.usage_in_redis import read_usage  # noqa: PLC0415 -- needs the settings

        return read_usage(days)
    key = find_key(key)
    if key is None:
        raise click.ClickException("no API key; set KLEIN_API_KEY, or use --key or --all-keys")
    return Server(url or local_url(), key).usage(days)


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    figures = ("images", "megapixels", "engine_s", "dollars")
    sums = {name: sum(row[name] for row in rows) for name in figures}
    return {"day": "total", "key": "", "model": "", **sums}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["day"],
        row["key"],
        row["model"],
        str(row["images"]),
        f"{row['megapixels']:.2f}",
        f"{row['engine_s']:.1f}",
        f"{row['dollars']:.6f}",
    )

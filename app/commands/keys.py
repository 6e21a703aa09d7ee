"""`klein keys`: creates, lists and revokes the API keys in Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from app.commands import read_settings
from app.commands.redis_errors import redis_error_message
from app.connections import open_redis
from app.keys import Key, KeyRing, UnknownKey, configured_keys
from app.predictions.accounts import Account, Limits
from app.predictions.errors import Unavailable
from app.settings import Settings


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    Redis (REDIS_URL) holds a hash of each key. Keys in KLEIN_API_KEYS work as well.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--days", type=click.IntRange(1, 36500), help="Days until the key expires. Default: never."
)
@click.option("--in-flight", type=click.IntRange(1), help="Limit of unfinished predictions.")
@click.option(
    "--per-minute", type=click.IntRange(1), help="Limit of predictions created in a minute."
)
@click.option(
    "--dollars", type=click.FloatRange(0), help="Limit of dollars spent in a calendar month (UTC)."
)
def create(
    name: str,
    days: int | None,
    in_flight: int | None,
    per_minute: int | None,
    dollars: float | None,
) -> None:
    """Create a key and print it.

    NAME is a label of your choice. The key is shown only now.
    """
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    limits = Limits(in_flight=in_flight, per_minute=per_minute, dollars_per_month=dollars)
    with _ring() as ring:
        record, key = ring.create(name, expires_at, limits)
    click.echo(f"id   {record.id}\nkey  {key}   (shown only now; Redis holds its hash)")


@keys.command("list")
def list_keys() -> None:
    """List all keys.

    A row has the state, the unfinished predictions, the spending of this month, and the limits.
    """
    with _ring() as ring:
        now = datetime.now(UTC)
        rows = [_row(key, ring.account(key.id, now), now) for key in ring.list()]
    headings = ("id", "state", "in flight", "spent", "limits", "name")
    widths = [max(len(row[k]) for row in (headings, *rows)) for k in range(len(headings))]
    for row in (headings, *rows):
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)))


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Revoke the key with this ID.

    It stops working within seconds and cannot be restored.
    """
    with _ring() as ring:
        try:
            ring.revoke(key_id)
        except UnknownKey:
            raise click.ClickException(
                f"there is no key {key_id}; `klein keys list` shows all keys"
            ) from None
    click.echo(f"revoked {key_id}")


def has_keys(settings: Settings) -> bool:
    """Return whether Redis holds keys. True if Redis does not answer."""
    try:
        with open_redis(settings.redis, retry=None) as connection:
            return bool(KeyRing(connection, frozenset()).list())
    except Unavailable:
        return True


@contextmanager
def _ring() -> Iterator[KeyRing]:
    settings = read_settings()
    with (
        redis_error_message(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        yield KeyRing(connection, configured_keys(settings.api_keys, settings.data))


def _row(key: Key, account: Account, now: datetime) -> tuple[str, ...]:
    if key.revoked_at is not None:
        state = f"revoked {key.revoked_at:%Y-%m-%d}"
    elif key.expires_at is not None:
        state = f"{'until' if now < key.expires_at else 'expired'} {key.expires_at:%Y-%m-%d}"
    else:
        state = "valid"
    return (
        key.id,
        state,
        str(account.in_flight),
        f"${account.spent_dollars:.6f}",
        _limits(key.limits),
        key.name,
    )


def _limits(limits: Limits) -> str:
    formats = (
        (limits.in_flight, "{} in flight"),
        (limits.per_minute, "{} a minute"),
        (limits.dollars_per_month, "${:g} a month"),
    )
    return ", ".join(form.format(value) for value, form in formats if value is not None) or "-"

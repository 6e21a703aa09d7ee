"""`klein keys`: make, list and revoke the API keys that are kept in Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from app.commands import read_settings
from app.connections import open_redis
from app.keys import Key, KeyRing, UnknownKey, given_keys
from app.predictions.accounts import Account, Limits
from app.predictions.errors import Unavailable
from app.settings import Settings


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 36500), help="Let it expire after so many days.")
@click.option("--in-flight", type=click.IntRange(1), help="Most predictions that have not ended.")
@click.option("--per-minute", type=click.IntRange(1), help="Most creates in a minute.")
@click.option("--dollars", type=click.FloatRange(0), help="Most dollars in a month of UTC.")
def create(
    name: str,
    days: int | None,
    in_flight: int | None,
    per_minute: int | None,
    dollars: float | None,
) -> None:
    """Make a key called NAME and show it, this once."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    limits = Limits(in_flight=in_flight, per_minute=per_minute, dollars_per_month=dollars)
    with _ring() as ring:
        record, key = ring.create(name, expires_at, limits)
    click.echo(f"id   {record.id}\nkey  {key}   (shown this once: only its hash is kept)")


@keys.command("list")
def list_keys() -> None:
    """List all keys, what they may, and what they have under way and spent this month."""
    with _ring() as ring:
        now = datetime.now(UTC)
        rows = [_row(key, ring.account(key.id, now), now) for key in ring.list()]
    heads = ("id", "state", "in flight", "spent", "limits", "name")
    widths = [max(len(row[k]) for row in (heads, *rows)) for k in range(len(heads))]
    for row in (heads, *rows):
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)))


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Let the key with this ID open nothing any more, within seconds."""
    with _ring() as ring:
        try:
            ring.revoke(key_id)
        except UnknownKey:
            raise click.ClickException(
                f"there is no key {key_id}; `klein keys list` shows all"
            ) from None
    click.echo(f"{key_id} is revoked")


def has_keys(settings: Settings) -> bool:
    """Say whether Redis keeps keys; True too where it does not say."""
    try:
        with open_redis(settings.redis, retry=None) as connection:
            return bool(KeyRing(connection, frozenset()).list())
    except Unavailable:
        return True


@contextmanager
def _ring() -> Iterator[KeyRing]:
    settings = read_settings()
    try:
        with open_redis(settings.redis, retry=None) as connection:
            yield KeyRing(connection, given_keys(settings.api_keys, settings.data))
    except (Unavailable, ValueError) as exc:
        raise click.ClickException(
            f"Redis does not answer at {settings.redis_shown}: {exc}; is klein up? Else set REDIS_URL"
        ) from None


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
    words = (
        (limits.in_flight, "{} in flight"),
        (limits.per_minute, "{} a minute"),
        (limits.dollars_per_month, "${:g} a month"),
    )
    return ", ".join(word.format(value) for value, word in words if value is not None) or "-"

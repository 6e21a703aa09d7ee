"""`klein keys`: creates, lists and revokes the API keys in Redis."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click
import redis

from app.commands.group import Group
from app.commands.numbers import Number, WholeNumber
from app.commands.redis_errors import report_redis_errors
from app.commands.settings import read_settings
from app.commands.table import echo_table
from app.connections import open_redis
from app.keys import CACHE_S, Key, KeyRing, OwnerRevoked, UnknownKey, configured_keys
from app.predictions.accounts import Account, Limits
from app.predictions.errors import Unavailable
from app.predictions.queue import Queues
from app.predictions.revocation import cancel_all, delete_all
from app.predictions.store import Store
from app.settings import Settings
from app.storage import open_storage
from app.storage.errors import StorageError


@click.group(cls=Group)
def keys() -> None:
    """Create, list and revoke API keys.

    Redis (REDIS_URL) holds a hash of each key. Keys in KLEIN_API_KEYS work as well.
    """


def _owner(_ctx: click.Context, _option: click.Parameter, name: str) -> str:
    """Check the name of an owner, which Redis keys contain."""
    if name and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise click.BadParameter("use up to 64 letters, digits, dots, hyphens and underscores")
    return name


@keys.command()
@click.argument("name")
@click.option(
    "--days", type=WholeNumber(1, 36500), help="Days until the key expires. Default: never."
)
@click.option(
    "--owner",
    metavar="NAME",
    default="",
    callback=_owner,
    help="Owner with whose other keys it shares history, limits and budget.",
)
@click.option("--in-flight", type=WholeNumber(1), help="Limit of unfinished predictions.")
@click.option("--per-minute", type=WholeNumber(1), help="Limit of predictions created in a minute.")
@click.option("--dollars", type=Number(0), help="Limit of dollars spent in a calendar month (UTC).")
@click.option(
    "--uploads", type=WholeNumber(1), help="Limit of uploaded files that have not expired."
)
@click.option("--upload-bytes", type=WholeNumber(1), help="Limit of the size of these files.")
def create(  # noqa: PLR0913 -- one argument an option
    name: str,
    days: int | None,
    owner: str,
    in_flight: int | None,
    per_minute: int | None,
    dollars: float | None,
    uploads: int | None,
    upload_bytes: int | None,
) -> None:
    """Create a key and print it.

    NAME is a label of your choice. The key is shown only now.
    With --owner the limits are those of all keys of this owner together.
    """
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    limits = Limits(
        in_flight=in_flight,
        per_minute=per_minute,
        dollars_per_month=dollars,
        uploads=uploads,
        upload_bytes=upload_bytes,
    )
    with _ring() as ring:
        try:
            record, key = ring.create(name, expires_at, limits, owner)
        except OwnerRevoked:
            raise click.ClickException(
                f"the owner {owner} is revoked; choose another name"
            ) from None
    click.echo(f"id   {record.id}\nkey  {key}   (shown only now; Redis holds its hash)")


@keys.command("list")
def list_keys() -> None:
    """List all keys.

    A row has the state, the unfinished predictions, the spending of this month, the uploads, and the limits.
    The row of an owner, @NAME, has those of all its keys.
    """
    with _ring() as ring:
        now = datetime.now(UTC)
        rows = [_row(key, ring.account(key.id, now), now) for key in ring.list()]
    echo_table(("id", "state", "in flight", "spent", "uploads", "limits", "name"), rows)


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--delete", "deletes", is_flag=True, help="Delete all its predictions and images.")
def revoke(key_id: str, *, deletes: bool) -> None:
    """Revoke the key with this ID, and cancel its unfinished predictions.

    It stops working within seconds and cannot be restored.
    The predictions of a key with an owner stay. @NAME revokes the owner with all its keys and predictions.
    """
    settings = read_settings()
    with _connection(settings) as connection:
        try:
            key = _open_ring(connection, settings).revoke(key_id)
        except UnknownKey:
            raise click.ClickException(
                f"there is no key {key_id}; `klein keys list` shows all keys"
            ) from None
        if key.owner:
            _report_owned(key, deletes=deletes)
            return
        store = Store(connection, Queues(connection), settings.retention)
        cancelled = cancel_all(connection, store, key_id)
        time.sleep(CACHE_S)  # a process may have accepted the key until now
        cancelled += cancel_all(connection, store, key_id)
        click.echo(f"revoked {key_id}; {cancelled} unfinished predictions are cancelled")
        if deletes:
            try:
                deleted = delete_all(connection, store, open_storage(settings.storage), key_id)
            except StorageError as exc:
                raise click.ClickException(f"{exc}; run the command again") from None
            click.echo(f"deleted {deleted} predictions")


def _report_owned(key: Key, *, deletes: bool) -> None:
    message = f"revoked {key.id}; its predictions belong to {key.account_id} and stay"
    if deletes:
        raise click.ClickException(
            f"{message}: `klein keys revoke {key.account_id} --delete` revokes the owner and deletes them"
        )
    click.echo(message)


def has_keys(settings: Settings) -> bool:
    """Return whether Redis holds keys. True if Redis does not answer."""
    try:
        with open_redis(settings.redis, retry=None) as connection:
            return bool(KeyRing(connection, frozenset()).list())
    except Unavailable:
        return True


@contextmanager
def _ring() -> Iterator[KeyRing]:
    """Open the keys in the Redis of the settings. Raises ServerUnavailable."""
    settings = read_settings()
    with _connection(settings) as connection:
        yield _open_ring(connection, settings)


@contextmanager
def _connection(settings: Settings) -> Iterator["redis.Redis"]:
    """Connect to Redis without retries. Raises ServerUnavailable."""
    with (
        report_redis_errors(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        yield connection


def _open_ring(connection: "redis.Redis", settings: Settings) -> KeyRing:
    return KeyRing(connection, configured_keys(settings.api_keys, settings.data))


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
        f"{account.uploads}, {account.upload_bytes / 1e6:.1f} MB",
        f"those of {key.account_id}" if key.owner else _limits(key.limits),
        key.name,
    )


def _limits(limits: Limits) -> str:
    formats = (
        (limits.in_flight, "{} in flight"),
        (limits.per_minute, "{} a minute"),
        (limits.dollars_per_month, "${:g} a month"),
        (limits.uploads, "{} uploads"),
        (limits.upload_bytes, "{} bytes of uploads"),
    )
    return ", ".join(form.format(value) for value, form in formats if value is not None) or "-"

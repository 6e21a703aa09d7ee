"""`klein delete`: deletes predictions with everything that belongs to them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import click

from app.commands.client import Server
from app.commands.each import run_for_each
from app.commands.server_options import server_options


@click.command()
@click.argument("prediction_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Delete every prediction of your API key.")
@click.option("--older-than", metavar="AGE", help="Delete those created longer ago: 30m, 12h, 7d.")
@click.option("--yes", is_flag=True, help="Do not ask before --all or --older-than delete.")
@server_options
def delete(
    *,
    server: Server,
    prediction_ids: tuple[str, ...],
    is_all: bool,
    older_than: str | None,
    yes: bool,
) -> None:
    """Delete the predictions with these IDs, or those of your API key by age, and all that belongs to them.

    That is the record with its prompt, the input and output images, previews, and the history of its webhook.
    A prediction that waits or runs is cancelled first. Nothing can be restored.
    """
    if bool(prediction_ids) + is_all + (older_than is not None) != 1:
        raise click.UsageError("name the IDs to delete, or use either --all or --older-than")
    if older_than is not None:
        before = _time_before(older_than)
        what = f"every prediction of this key created before {before:%Y-%m-%d %H:%M:%S} UTC"
    else:
        before, what = datetime.max.replace(tzinfo=UTC), "every prediction of this key"
    if prediction_ids:
        _delete(server, prediction_ids)
        return
    if not yes:
        click.confirm(f"Delete {what} at {server.url}?", abort=True, err=True)
    _delete(server, _ids_before(server, before))


def _delete(server: Server, prediction_ids: Iterable[str]) -> None:
    count = 0

    def delete_one(prediction_id: str) -> None:
        nonlocal count
        server.delete(prediction_id)
        count += 1

    exit_code = run_for_each(prediction_ids, delete_one)
    click.echo(f"deleted {count} prediction{'' if count == 1 else 's'}")
    if exit_code:
        raise SystemExit(exit_code)


def _ids_before(server: Server, before: datetime) -> Iterator[str]:
    for entry in server.history():
        if datetime.fromisoformat(entry["created_at"]) < before:
            yield entry["id"]


def _time_before(age: str) -> datetime:
    from app.durations import parse_duration  # noqa: PLC0415 -- needs pydantic, which is slow to import

    try:
        if age.strip().isdecimal():  # 3 would be seconds, and is meant as days
            raise ValueError(f"{age!r} has no unit; write 30m, 12h or 7d")  # noqa: TRY301 -- as parse_duration
        duration = parse_duration(age)
        if duration < timedelta():
            raise ValueError(f"{age!r} is negative; write 30m, 12h or 7d")  # noqa: TRY301 -- as parse_duration
        return datetime.now(UTC) - duration
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(str(exc), param_hint="--older-than") from None

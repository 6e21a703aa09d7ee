"""`klein queue`: what waits, what runs, and who works."""

import click

from app.commands import read_settings
from app.connections import open_redis
from app.predictions.census import Census, take_census
from app.predictions.errors import Unavailable
from app.predictions.queue import Queues
from app.predictions.roster import Roster
from app.predictions.store import Store


@click.command()
def queue() -> None:
    """Show how many predictions wait and run, and which workers there are."""
    settings = read_settings()
    try:
        with open_redis(settings.redis, retry=None) as connection:
            queues = Queues(connection)
            store = Store(connection, queues, settings.retention)
            census = take_census(store, queues, Roster(connection))
    except (Unavailable, ValueError) as exc:
        raise click.ClickException(
            f"Redis does not answer at {settings.redis_shown}: {exc}; is klein up? Else set REDIS_URL"
        ) from None
    click.echo("\n".join(_lines(census)))


def _lines(census: Census) -> list[str]:
    lines = []
    for kind, waiting in census.waiting.items():
        oldest = (
            f"   the next one for {waiting.oldest.total_seconds():.0f} s" if waiting.count else ""
        )
        if waiting.count or any(worker.checkpoint is kind for worker in census.workers):
            lines.append(f"waiting   {waiting.count}   {kind}{oldest}")
    lines += [
        f"running   {census.running}",
        f"webhooks  {census.webhooks}   to be delivered",
        f"workers   {len(census.workers)}",
    ]
    lines += [f"  {w.name}   {w.checkpoint}   {w.weights}" for w in census.workers]
    return lines if census.workers else [*lines, "  none: nothing is drawn; start `klein worker`"]

"""`klein queue`: what waits, what runs, and who works."""

import click

from app.commands import read_settings
from app.connections import open_redis
from app.predictions.errors import Unavailable
from app.predictions.queue import Queues
from app.predictions.stats import SystemStats, collect_stats
from app.predictions.store import Store
from app.predictions.worker_registry import WorkerRegistry


@click.command()
def queue() -> None:
    """Show how many predictions wait and run, and which workers there are."""
    settings = read_settings()
    try:
        with open_redis(settings.redis, retry=None) as connection:
            queues = Queues(connection)
            store = Store(connection, queues, settings.retention)
            stats = collect_stats(store, queues, WorkerRegistry(connection))
    except (Unavailable, ValueError) as exc:
        raise click.ClickException(
            f"Redis does not answer at {settings.redis_shown}: {exc}; is klein up? Else set REDIS_URL"
        ) from None
    click.echo("\n".join(_lines(stats)))


def _lines(stats: SystemStats) -> list[str]:
    lines = []
    for kind, waiting in stats.waiting.items():
        oldest = (
            f"   the next one for {waiting.oldest.total_seconds():.0f} s" if waiting.count else ""
        )
        if waiting.count or any(worker.checkpoint is kind for worker in stats.workers):
            lines.append(f"waiting   {waiting.count}   {kind}{oldest}")
    lines += [
        f"running   {stats.running}",
        f"webhooks  {stats.webhooks}   to be delivered",
        f"workers   {len(stats.workers)}",
    ]
    lines += [f"  {w.name}   {w.checkpoint}   {w.weights}" for w in stats.workers]
    return lines if stats.workers else [*lines, "  none: nothing is drawn; start `klein worker`"]

"""`klein queue`: shows waiting and running predictions, and the workers."""

import click

from app.commands import read_settings
from app.commands.redis_errors import redis_error_message
from app.connections import open_redis
from app.predictions.queue import Queues
from app.predictions.stats import SystemStats, collect_stats
from app.predictions.store import Store
from app.predictions.worker_registry import WorkerRegistry


@click.command()
def queue() -> None:
    """Show waiting and running predictions, and the workers.

    The command reads Redis (REDIS_URL, or the one that `klein up` started in KLEIN_DATA).
    """
    settings = read_settings()
    with (
        redis_error_message(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        queues = Queues(connection)
        store = Store(connection, queues, settings.retention)
        stats = collect_stats(store, queues, WorkerRegistry(connection))
    click.echo("\n".join(_lines(stats)))


def _lines(stats: SystemStats) -> list[str]:
    lines = []
    for kind, waiting in stats.waiting.items():
        oldest = f"   oldest {waiting.oldest.total_seconds():.0f} s" if waiting.count else ""
        if waiting.count or any(worker.checkpoint is kind for worker in stats.workers):
            lines.append(f"waiting   {waiting.count}   {kind}{oldest}")
    lines += [
        f"running   {stats.running}",
        f"webhooks  {stats.webhooks}   to deliver",
        f"workers   {len(stats.workers)}",
    ]
    lines += [f"  {w.name}   {w.checkpoint}   {w.weights}" for w in stats.workers]
    return (
        lines
        if stats.workers
        else [*lines, "  none: predictions wait until you start `klein worker`"]
    )

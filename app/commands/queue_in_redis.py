"""Reads the status that `klein queue` shows from Redis, for operators without an API key or a running API."""

from typing import Any

from app.api.status_body import status_body
from app.commands.redis_errors import report_redis_errors
from app.commands.settings import read_settings
from app.connections import open_redis
from app.predictions.backlog import Backlog
from app.predictions.ledger import Ledger
from app.predictions.place import Places
from app.predictions.queue import Queues
from app.predictions.stats import collect_stats
from app.predictions.store import Store
from app.predictions.worker_registry import WorkerRegistry


def read_status() -> dict[str, Any]:
    """Return the same as `GET /v1/status`. Raises click.ClickException."""
    settings = read_settings()
    with (
        report_redis_errors(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        queues = Queues(connection)
        store = Store(connection, queues, settings.retention)
        registry = WorkerRegistry(connection)
        places = Places(connection, queues, registry, Backlog(store))
        stats = collect_stats(store, queues, registry, Ledger(connection), places)
    return status_body(stats).model_dump()

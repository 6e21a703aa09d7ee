"""Wires the courier process: `python -m worker.courier`. It needs no engine.

The courier reissues lost tokens, deletes expired predictions and uploads, and delivers webhooks.
"""

import asyncio
import signal
import threading
from datetime import UTC, datetime

from app.connections import open_redis
from app.dialects.image_links import ImageLinks, data_uri
from app.dialects.registry import webhook_body
from app.logs import configure_logs, log
from app.metrics import serve_metrics
from app.predictions.errors import Unavailable
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Output, Prediction
from app.predictions.queue import Queues
from app.predictions.store import Store
from app.safe_http import SafeHttp
from app.settings import Settings
from app.storage import open_storage
from app.storage.errors import StorageError
from app.storage.links import open_links
from app.tracing import configure_tracing
from app.uploads import Uploads
from app.webhooks.deliverer import Deliverer
from app.webhooks.delivery import SCHEDULES
from app.webhooks.outbox import Outbox
from app.webhooks.send import Sender

RECONCILE_S = 1.0
EXPIRE_EVERY = 60  # reconciliations


def run_courier(settings: Settings) -> None:
    """Run the courier until told to stop."""
    connection = open_redis(settings.redis)
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention)
    storage = open_storage(settings.storage)
    links = open_links(settings.url_secret, settings.data)

    def image_links(prediction: Prediction) -> ImageLinks:
        assert prediction.webhook is not None  # noqa: S101 -- only predictions with a webhook are delivered
        base = (settings.public_url or prediction.webhook.base).rstrip("/")
        return ImageLinks(
            base=base,
            retention=settings.retention,
            link=lambda key, expires: links.link(base, key, expires),
        )

    def show(prediction: Prediction, output: Output) -> str:
        if prediction.input.get("sync_mode") is True:
            return data_uri(output, storage.get(output.key))
        return image_links(prediction).url(prediction, output)

    deliverer = Deliverer(
        Outbox(connection, store, SCHEDULES[settings.webhook_retries]),
        store,
        Sender(SafeHttp(settings.allow_hosts), lambda: datetime.now(UTC)),
        lambda p: webhook_body(p, image_links(p), lambda output: show(p, output)),
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def deliver() -> None:
        try:
            asyncio.run(deliverer.run(stopping))
        finally:
            stopping.set()  # after an error the whole process ends and is restarted

    delivering = threading.Thread(target=deliver, name="webhooks")
    delivering.start()
    run_maintenance(Maintenance(store, queues, storage), Uploads(connection, storage), stopping)
    delivering.join()


def run_maintenance(
    maintenance: Maintenance,
    uploads: Uploads,
    stopping: threading.Event,
    every_s: float = RECONCILE_S,
) -> None:
    """Run maintenance until told to stop. Outages of Redis or the storage only delay it."""
    log.info("courier_ready")
    rounds = 0
    while not stopping.wait(every_s):
        try:
            maintenance.reconcile()
            if rounds % EXPIRE_EVERY == 0:
                maintenance.expire()
                uploads.expire()
            rounds += 1
        except (Unavailable, StorageError) as exc:
            log.warning("maintenance_failed", error=str(exc))


def main() -> None:
    """Run the courier with the settings of the environment."""
    configure_logs("courier")
    try:
        settings = Settings()
        configure_tracing("courier", settings.otlp_endpoint)
        serve_metrics(settings.host, settings.metrics_port)
        run_courier(settings)
    except ValueError as exc:
        raise SystemExit(f"klein courier: {exc}") from None


if __name__ == "__main__":
    main()

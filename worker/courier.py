"""Wires the courier process: `python -m worker.courier`. It needs no engine.

The courier reissues lost tokens, deletes expired predictions and uploads, and delivers webhooks.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import redis

from app.connections import open_redis
from app.dialects.image_links import ImageLinks, data_uri
from app.dialects.registry import webhook_body
from app.garbage import collect_as_usual
from app.logs import configure_logs, log
from app.metrics import serve_metrics
from app.predictions.errors import Unavailable
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Output, Prediction
from app.predictions.queue import Queues
from app.predictions.redis_keys import WEBHOOKS_DUE
from app.predictions.store import Store
from app.private_files import PRIVATE
from app.redis_requirements import require_redis
from app.safe_http import SafeHttp
from app.settings import Settings
from app.storage import open_storage
from app.storage.links import open_links
from app.storage.time_limit import TimeLimitedStorage
from app.tracing import configure_tracing
from app.uploads import Uploads
from app.webhooks.deliverer import Deliverer
from app.webhooks.delivery import SCHEDULES
from app.webhooks.outbox import Outbox
from app.webhooks.send import Sender

RECONCILE_S = 1.0
EXPIRE_S = 60.0
LISTEN_S = 60.0  # for one message
RECONNECT_S = 1.0


def run_courier(settings: Settings) -> None:
    """Run the courier until told to stop."""
    connection = open_redis(settings.redis)
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention)
    storage = TimeLimitedStorage(open_storage(settings.storage))
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
        settings.key_webhooks_per_minute,
    )
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        deliverer.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    maintenance = Maintenance(store, queues, storage)
    uploads = Uploads(connection, storage)
    tasks: dict[str, Callable[[], None]] = {
        "webhooks": lambda: asyncio.run(deliverer.run(stopping)),
        "reconcile": lambda: run_regularly(maintenance.reconcile, RECONCILE_S, stopping),
        "retention": lambda: run_regularly(maintenance.expire, EXPIRE_S, stopping),
        "uploads": lambda: run_regularly(uploads.expire, EXPIRE_S, stopping),
    }
    threads = [
        threading.Thread(target=_run_task, args=(task, stopping), name=name)
        for name, task in tasks.items()
    ]
    listener = threading.Thread(
        target=listen, args=(connection, deliverer.wake, stopping), name="listener", daemon=True
    )
    collect_as_usual()
    for thread in (*threads, listener):
        thread.start()
    log.info("courier_ready")
    for thread in threads:
        thread.join()


def listen(
    connection: "redis.Redis", on_webhook: Callable[[], None], stopping: threading.Event
) -> None:
    """Call `on_webhook` for each webhook that becomes due. What is announced during an outage is found by the next poll.

    It may wait for a message for LISTEN_S after it was told to stop.
    """
    while not stopping.is_set():
        try:
            with connection.pubsub(ignore_subscribe_messages=True) as announcements:  # type: ignore[no-untyped-call]  # redis-py is untyped here
                announcements.subscribe(WEBHOOKS_DUE)
                while not stopping.is_set():
                    if announcements.get_message(timeout=LISTEN_S) is not None:
                        on_webhook()
        except redis.RedisError as exc:
            log.warning("announcements_lost", error=str(exc))
            stopping.wait(RECONNECT_S)


def run_regularly(
    work: Callable[[threading.Event], object], every_s: float, stopping: threading.Event
) -> None:
    """Do this work at once and then regularly, until told to stop. An outage only delays it."""
    while not stopping.is_set():
        try:
            work(stopping)
        except Unavailable as exc:
            log.warning("maintenance_failed", error=str(exc))
        stopping.wait(every_s)


def _run_task(task: Callable[[], None], stopping: threading.Event) -> None:
    """Run a task. When it ends by an error, the whole process ends and is restarted."""
    try:
        task()
    finally:
        stopping.set()


def main() -> None:
    """Run the courier with the settings of the environment."""
    try:
        settings = Settings()
        os.umask(PRIVATE)
        configure_logs("courier", settings.log_format)
        configure_tracing("courier", settings.otlp_endpoint)
        serve_metrics(settings.host, settings.metrics_port)
        require_redis(
            settings.redis, settings.redis_shown, is_volatile_allowed=settings.allow_volatile_redis
        )
        run_courier(settings)
    except ValueError as exc:
        raise SystemExit(f"klein courier: {exc}") from None


if __name__ == "__main__":
    main()

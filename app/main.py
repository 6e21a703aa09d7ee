"""Builds the api process from its settings."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from fastapi import FastAPI
from fastapi.middleware import Middleware

from app.api import files, health, metrics, page, status, uploads
from app.api.assets import open_page
from app.api.errors import install_errors
from app.api.proxy import open_proxy
from app.api.requests import RequestLog
from app.api.state import ApiState, set_state
from app.connections import open_readers, open_redis
from app.dialects.eachlabs import wire
from app.dialects.http import dialect_routers, error_renderer
from app.images.source import ImageSource
from app.keys import KEYS, Keys, configured_keys
from app.logs import log
from app.predictions.accounts import Limits
from app.predictions.admission import Admission
from app.predictions.clock import Clock
from app.predictions.prediction import Timeouts
from app.predictions.queue import Queues
from app.predictions.rates import Rates
from app.predictions.service import Service
from app.predictions.stats import collect_stats
from app.predictions.store import Store
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import Watch
from app.predictions.worker_registry import WorkerRegistry
from app.safe_http import SafeHttp
from app.settings import FileUrls, Settings, StatusWords
from app.storage import open_storage
from app.storage.links import open_links
from app.uploads import Uploads
from app.version import VERSION
from app.webhooks.delivery import SCHEDULES
from app.webhooks.outbox import Outbox

WORDS = {StatusWords.LIVE: wire.LIVE, StatusWords.DOCUMENTED: wire.DOCUMENTED}
DESCRIPTION = (
    "A self-hosted server with the prediction API of each::labs. The images API of OpenAI and the prediction API of "
    "Replicate are served too. Send your API key in the header `X-API-Key`."
)
READERS = 64  # connections for reads of waiting callers


def create_app(settings: Settings) -> FastAPI:
    """Create the api application."""
    connection = open_redis(settings.redis)
    reading = open_readers(settings.redis, READERS)
    is_proxied = settings.file_urls is FileUrls.PROXIED
    storage = open_storage(settings.storage, None if is_proxied else settings.s3_public_url)
    proxy = open_proxy() if is_proxied and storage.origin else None
    links = open_links(settings.url_secret, settings.data)
    watch = Watch(reading)
    keys = Keys(
        configured_keys(settings.api_keys, settings.data),
        read=lambda key_id: cast("Awaitable[bytes | None]", reading.hget(KEYS, key_id)),
        default=Limits(
            in_flight=settings.key_in_flight,
            per_minute=settings.key_per_minute,
            dollars_per_month=settings.key_dollars_per_month,
        ),
    )
    queues = Queues(connection)
    store = Store(connection, queues, settings.retention)
    registry = WorkerRegistry(connection)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with watch.listening():
            log.info("api_ready")
            yield
        await reading.aclose()
        connection.close()

    app = FastAPI(
        title="klein",
        version=VERSION,
        summary="Generate and edit images with FLUX.2 [klein] 4B",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        middleware=[Middleware(RequestLog, error_renderer=error_renderer)],
    )
    service = Service(
        store=store,
        watch=watch,
        registry=registry,
        storage=storage,
        images=ImageSource(storage, links, SafeHttp(settings.allow_hosts)),
        clock=Clock(connection),
        timeouts=Timeouts(queue=settings.queue_timeout, run=settings.run_timeout),
        admission=Admission(
            rates=Rates(connection), limits_of=keys.limits_of, queue_limit=settings.queue_limit
        ),
        wait_limiter=WaitLimiter(most=settings.waiters, most_per_key=settings.key_waiters),
        strict_inputs=settings.strict_inputs,
    )
    stats = partial(collect_stats, store, queues, registry)
    public_url = settings.public_url and settings.public_url.rstrip("/")
    set_state(
        app,
        ApiState(
            service=service,
            keys=keys,
            links=links,
            outbox=Outbox(connection, store, SCHEDULES[settings.webhook_retries]),
            uploads=Uploads(connection, storage),
            page=open_page(public_url, None if proxy else storage.origin),
            proxy=proxy,
            collect_stats=stats,
            system_metrics=metrics.open_system(stats, lambda: service.waiting),
            status_words=WORDS[settings.status_words],
            retention=settings.retention,
            body_max_bytes=settings.body_max_bytes,
            public_url=public_url,
        ),
    )
    install_errors(app, error_renderer)
    for router in dialect_routers():
        app.include_router(router)
    app.include_router(files.router)
    app.include_router(uploads.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(status.router)
    app.include_router(page.router)
    return app

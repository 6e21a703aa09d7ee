"""Wires the api process; reads from top to bottom."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI
from fastapi.middleware import Middleware

from app.api import files, health, metrics, page, status, uploads
from app.api.errors import install_errors
from app.api.proxy import open_proxy
from app.api.requests import RequestLog
from app.connections import open_readers, open_redis
from app.dialects.answers import answer_at
from app.dialects.eachlabs import events, model_routes, routes, upload_routes, webhook_routes, wire
from app.dialects.openai import routes as openai
from app.dialects.replicate import routes as replicate
from app.images.source import ImageSource
from app.keys import KEYS, Keys, given_keys
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
from app.settings import Settings, StatusWords
from app.storage import open_storage
from app.storage.links import open_links
from app.uploads import Uploads
from app.version import VERSION
from app.webhooks.delivery import SCHEDULES
from app.webhooks.outbox import Outbox

WORDS = {StatusWords.LIVE: wire.LIVE, StatusWords.DOCUMENTED: wire.DOCUMENTED}
READERS = 64  # connections that long polls read through


def create_app(settings: Settings) -> FastAPI:
    """Build the api from its settings."""
    connection = open_redis(settings.redis)
    reading = open_readers(settings.redis, READERS)
    proxy = open_proxy() if settings.proxies_files else None
    storage = open_storage(settings.storage, None if proxy else settings.s3_public_url)
    links = open_links(settings.url_secret, settings.data)
    watch = Watch(reading)
    keys = Keys(
        given_keys(settings.api_keys, settings.data),
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
        summary="FLUX.2 [klein] 4B behind the hosted prediction API",
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        middleware=[Middleware(RequestLog, dialect_at=answer_at)],
    )
    app.state.keys = keys
    app.state.links = links
    app.state.proxy = proxy
    app.state.words = WORDS[settings.status_words]
    app.state.retention = settings.retention
    app.state.body_max_bytes = settings.body_max_bytes
    app.state.public_url = settings.public_url and settings.public_url.rstrip("/")
    app.state.outbox = Outbox(connection, store, SCHEDULES[settings.webhook_retries])
    app.state.uploads = Uploads(connection, storage)
    app.state.service = Service(
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
        wait_limiter=WaitLimiter(most=settings.waiters, most_of_a_key=settings.key_waiters),
        strict_inputs=settings.strict_inputs,
    )
    app.state.collect_stats = lambda: collect_stats(store, queues, registry)
    app.state.system = metrics.open_system(app.state.collect_stats, lambda: watch.waiting)
    app.state.page = page.open_page(app.state.public_url, None if proxy else storage.origin)
    install_errors(app, answer_at)
    app.include_router(openai.models)  # before the hosted models, whose paths it shares
    app.include_router(openai.images)
    app.include_router(routes.router)
    app.include_router(model_routes.router)
    app.include_router(events.router)
    app.include_router(webhook_routes.router)
    app.include_router(upload_routes.router)
    app.include_router(replicate.router)
    app.include_router(files.router)
    app.include_router(uploads.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(status.router)
    app.include_router(page.router)
    return app

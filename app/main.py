"""Builds the api process from its settings."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from fastapi import FastAPI
from fastapi.middleware import Middleware

from app.api import docs, files, health, metrics, page, status, uploads
from app.api.address_budget import AddressBudget
from app.api.application import Application
from app.api.assets import open_page
from app.api.body_memory import BodyMemory
from app.api.direct_routes import DirectRoutes
from app.api.errors import install_errors
from app.api.head import HeadAsGet
from app.api.origins import allow_origins
from app.api.proxy import open_proxy
from app.api.readiness import check_readiness
from app.api.request_turns import KnownCallers, RequestTurns
from app.api.requests import RequestLog
from app.api.slashes import TrailingSlash
from app.api.state import ApiState, set_state
from app.api.stranger_limit import StrangerLimit
from app.cached import Cached
from app.connections import open_redis, open_shared
from app.dialects.eachlabs import wire
from app.dialects.http import add_routes, error_renderer, include_dialects
from app.images.decoders import Decoders
from app.images.scratch import Scratch
from app.images.source import ImageSource
from app.keys import KEYS, Keys, configured_keys
from app.loras.fetch import LoraFetcher
from app.loras.library import Library
from app.own_threads import OwnThreads
from app.predictions.accounts import Limits
from app.predictions.admission import Admission
from app.predictions.backlog import Backlog
from app.predictions.clock import Clock
from app.predictions.forecasts import Forecasts
from app.predictions.history import History
from app.predictions.ledger import Ledger
from app.predictions.lora_cache import LoraCache
from app.predictions.lora_catalog import LoraCatalog
from app.predictions.open_deliveries import OpenDeliveries
from app.predictions.place import Places
from app.predictions.prediction import Timeouts
from app.predictions.queue import Queues
from app.predictions.rates import Rates
from app.predictions.read_slots import ReadSlots
from app.predictions.service import Service
from app.predictions.stats import collect_stats
from app.predictions.store import Store
from app.predictions.submissions import Submissions
from app.predictions.usage import Usage
from app.predictions.validation import Validator
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import Watch
from app.predictions.worker_registry import WorkerRegistry
from app.redis_requirements import RedisCheck
from app.safe_http import SafeHttp
from app.settings import Settings
from app.settings.server import StatusWords, UnreachableImages
from app.settings.storage import FileUrls
from app.storage import open_storage
from app.storage.links import open_links
from app.upload_quota import UploadQuota, UploadSlots
from app.uploads import Uploads
from app.version import VERSION
from app.webhooks.delivery import SCHEDULES
from app.webhooks.outbox import Outbox

STATUS_WORDS = {StatusWords.LIVE: wire.LIVE, StatusWords.DOCUMENTED: wire.DOCUMENTED}
FILE_THREADS = 40  # downloads that read or wait for the storage at once
DESCRIPTION = (
    "A self-hosted server with the prediction API of each::labs. The images API of OpenAI and the prediction API of "
    "Replicate are served too. Send your API key in the header `X-API-Key`."
)


def create_app(settings: Settings) -> FastAPI:
    """Create the api application."""
    connection = open_redis(settings.redis)
    reading = open_shared(settings.redis)
    is_proxied = settings.file_urls is FileUrls.PROXIED
    storage = open_storage(settings.storage, None if is_proxied else settings.s3_public_url)
    proxy = open_proxy() if is_proxied and storage.origin else None
    links = open_links(settings.url_secret, settings.data)
    keys = Keys(
        configured_keys(settings.api_keys, settings.data),
        read=lambda key_id: cast("Awaitable[bytes | None]", reading.hget(KEYS, key_id)),
        default=Limits(
            in_flight=settings.key_in_flight,
            per_minute=settings.key_per_minute,
            dollars_per_month=settings.key_dollars_per_month,
            uploads=settings.key_uploads,
            upload_bytes=settings.key_upload_bytes,
        ),
    )
    queues = Queues(connection)
    clock = Clock(connection)  # one for all, so that a create reads the time once
    store = Store(connection, queues, settings.retention, clock=clock)
    registry = WorkerRegistry(connection, clock)
    history = History(connection, store)
    backlog = Backlog(store)
    places = Places(connection, queues, registry, backlog, clock)
    forecasts = Forecasts(places.place_behind, backlog, places.is_fresh_for)
    watch = Watch(reading, on_end=forecasts.end)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        """Listen for announcements while the app serves, then end its processes and connections."""
        async with watch.listening():
            yield
        await decoders.close()
        scratch.close()
        await reading.aclose()
        connection.close()

    address_budget, known_callers = AddressBudget(), KnownCallers()
    app = Application(
        title="klein",
        version=VERSION,
        summary="Generate and edit images with FLUX.2 [klein] 4B",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,  # app.api.docs serves it, and the page
        middleware=[
            Middleware(RequestLog, error_renderer=error_renderer),
            Middleware(TrailingSlash),
            *allow_origins(settings.allow_origins),
            Middleware(StrangerLimit, budget=address_budget, error_renderer=error_renderer),
            Middleware(RequestTurns, callers=known_callers, error_renderer=error_renderer),
            Middleware(HeadAsGet),
            Middleware(DirectRoutes, error_renderer=error_renderer),
        ],
    )
    outbound = SafeHttp(settings.allow_hosts)
    decoders, scratch = Decoders(), Scratch()
    timeouts = Timeouts(queue=settings.queue_timeout, run=settings.run_timeout)
    admission = Admission(
        rates=Rates(connection),
        limits_of=keys.limits_of,
        queue_limit=settings.queue_limit,
        deliveries=OpenDeliveries(connection, settings.key_open_webhooks),
    )
    loras = LoraCatalog(
        Library(settings.loras),
        registry,
        LoraCache(connection, storage, settings.lora_cache_bytes),
        LoraFetcher(
            outbound,
            settings.lora_sources,
            settings.hub_endpoint,
            settings.lora_cache_bytes,
            settings.data / "fetching",
            settings.disk_reserve_bytes,
        ),
    )
    service = Service(
        store=store,
        history=history,
        watch=watch,
        registry=registry,
        storage=storage,
        submissions=Submissions(
            store=store,
            validator=Validator(
                store=store,
                registry=registry,
                admission=admission,
                loras=loras,
                clock=clock,
                strict_inputs=settings.strict_inputs,
                keeps_prompts=settings.keep_prompts,
                metadata=settings.metadata,
            ),
            storage=storage,
            images=ImageSource(storage, links, outbound, decoders),
            scratch=scratch,
            timeouts=timeouts,
            admission=admission,
            loras=loras,
            accepts_unreachable_images=settings.unreachable_images is UnreachableImages.ACCEPT,
            keeps_prompts=settings.keep_prompts,
            find_place=places.find_for_new if settings.refuse_late else None,
            forecasts=forecasts,
            shared=reading,
        ),
        timeouts=timeouts,
        admission=admission,
        loras=loras,
        wait_limiter=WaitLimiter(max_waiters=settings.waiters, max_per_key=settings.key_waiters),
    )
    stats = partial(collect_stats, store, queues, registry, Ledger(connection), places)
    redis_check = RedisCheck(connection, is_volatile_allowed=settings.allow_volatile_redis)
    system_metrics = metrics.create_system_registry(stats, lambda: service.waiter_count)
    public_url = settings.public_url and settings.public_url.rstrip("/")
    set_state(
        app,
        ApiState(
            service=service,
            history=history,
            read_slots=ReadSlots(),
            places=places,
            forecasts=forecasts,
            keys=keys,
            links=links,
            outbox=Outbox(connection, store, SCHEDULES[settings.webhook_retries]),
            usage=Usage(connection),
            uploads=Uploads(
                connection,
                storage,
                UploadQuota(limits_of=keys.limits_of, reserve_bytes=settings.disk_reserve_bytes),
            ),
            upload_slots=UploadSlots(),
            scratch=scratch,
            page=open_page(public_url, None if proxy else storage.origin),
            proxy=proxy,
            file_threads=OwnThreads("files", FILE_THREADS),
            address_budget=address_budget,
            known_callers=known_callers,
            body_memory=BodyMemory(),
            readiness=Cached(partial(check_readiness, service, redis_check)),
            served_models=Cached(service.list_served),
            collect_stats=stats,
            metrics_text=Cached(partial(metrics.metrics_text, system_metrics)),
            openai_models=settings.openai_models,
            status_words=STATUS_WORDS[settings.status_words],
            retention=settings.retention,
            body_max_bytes=settings.body_max_bytes,
            public_url=public_url,
        ),
    )
    install_errors(app, error_renderer)
    add_routes(app, files.router)
    include_dialects(app)
    add_routes(app, uploads.router)
    add_routes(app, health.router)
    if settings.metrics_port is None:
        add_routes(app, metrics.router)
    add_routes(app, status.router)
    add_routes(app, docs.router)
    add_routes(app, page.router)
    return app

"""The state that the routes share: built once in main, read through `state_of`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from app.api.assets import Page
from app.keys import Keys
from app.predictions.prediction import Status
from app.predictions.service import Service
from app.predictions.stats import SystemStats
from app.storage.links import Links
from app.uploads import Uploads
from app.webhooks.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiState:
    """What the routes of one api process work with."""

    service: Service
    keys: Keys
    links: Links
    outbox: Outbox
    uploads: Uploads
    page: Page
    proxy: httpx.Client | None  # reads files from the storage; None where callers reach it
    collect_stats: Callable[[], SystemStats]
    system_metrics: CollectorRegistry
    status_words: dict[Status, str]  # of the hosted API
    retention: timedelta
    body_max_bytes: int
    public_url: str | None  # without a trailing slash; None: as the request names it


def set_state(app: Starlette, state: ApiState) -> None:
    """Give the app its state."""
    app.state.api = state


def state_of(app: Starlette) -> ApiState:
    """Return the state of an app, such as `request.app`."""
    state: ApiState = app.state.api
    return state

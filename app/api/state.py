"""The state that the routes share: built once in main, read through `state_of`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
from starlette.applications import Starlette

from app.api.address_budget import AddressBudget
from app.api.assets import Page
from app.api.body_memory import BodyMemory
from app.api.readiness import Readiness
from app.api.request_turns import KnownCallers
from app.cached import Cached
from app.images.scratch import Scratch
from app.keys import Keys
from app.own_threads import OwnThreads
from app.predictions.catalog import Model
from app.predictions.forecasts import Forecasts
from app.predictions.history import History
from app.predictions.place import Places
from app.predictions.prediction import Status
from app.predictions.read_slots import ReadSlots
from app.predictions.service import Service
from app.predictions.stats import SystemStats
from app.predictions.usage import Usage
from app.storage.links import Links
from app.upload_quota import UploadSlots
from app.uploads import Uploads
from app.webhooks.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiState:
    """The objects that the routes of one api process share."""

    service: Service
    history: History
    read_slots: ReadSlots
    places: Places
    forecasts: Forecasts
    keys: Keys
    links: Links
    outbox: Outbox
    usage: Usage
    uploads: Uploads
    upload_slots: UploadSlots
    scratch: Scratch
    page: Page
    proxy: (
        httpx.Client | None
    )  # reads files from the storage; None if callers reach the storage themselves
    file_threads: OwnThreads
    address_budget: AddressBudget
    body_memory: BodyMemory
    known_callers: KnownCallers
    readiness: Cached[Readiness]
    served_models: Cached[list[tuple[Model, str | None]]]  # with the weights that serve each
    collect_stats: Callable[[], SystemStats]
    metrics_text: Cached[bytes]
    openai_models: tuple[str, ...]  # names that mean what is served; empty: those of OpenAI
    status_words: dict[Status, str]  # of the hosted API
    retention: timedelta
    body_max_bytes: int
    public_url: str | None  # without a trailing slash; None means the host that the request named


def set_state(app: Starlette, state: ApiState) -> None:
    """Give the app its state."""
    app.state.api = state


def state_of(app: Starlette) -> ApiState:
    """Return the state of an app, such as `request.app`."""
    state: ApiState = app.state.api
    return state

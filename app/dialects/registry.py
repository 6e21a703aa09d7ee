"""Lists the dialects. This module loads no HTTP framework, because the courier reads it too. See `http` for the routes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.dialects.bfl import wire as bfl
from app.dialects.eachlabs import webhook as eachlabs
from app.dialects.fal import wire as fal
from app.dialects.image_links import ImageLinks, RenderOutput
from app.dialects.openai import wire as openai
from app.dialects.replicate import wire as replicate
from app.predictions.prediction import Prediction

RenderWebhook = Callable[[Prediction, ImageLinks, RenderOutput], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One vendor's API."""

    name: str  # as a webhook's record names it
    routes: str  # the module whose HTTP holds the routers and renders errors
    prefix: str = ""  # every path below it is the dialect's
    is_at_root: bool = False  # whether it also shares the paths without a prefix
    is_default: bool = False  # whether the paths are its own that no other dialect has
    matches: re.Pattern[str] | None = None  # `METHOD /path` of its requests at the root
    webhook_body: RenderWebhook | None = None  # None means it has no webhooks


DIALECTS = (  # in the order of their routers at the root
    Dialect(
        name="openai",
        routes="app.dialects.openai.http",
        prefix="/openai",
        is_at_root=True,
        matches=openai.REQUESTS,
    ),
    Dialect(
        name="replicate",
        routes="app.dialects.replicate.http",
        prefix="/replicate",
        is_at_root=True,
        matches=replicate.REQUESTS,
        webhook_body=replicate.webhook_body,
    ),
    Dialect(
        name="bfl",
        routes="app.dialects.bfl.routes",
        prefix="/bfl",
        webhook_body=bfl.webhook_body,
    ),
    Dialect(
        name="fal",
        routes="app.dialects.fal.routes",
        prefix="/fal",
        webhook_body=fal.webhook_body,
    ),
    Dialect(name="huggingface", routes="app.dialects.huggingface.routes", prefix="/hf"),
    Dialect(name="a1111", routes="app.dialects.a1111.routes", prefix="/sdapi"),
    Dialect(
        name="eachlabs",
        routes="app.dialects.eachlabs.http",
        is_at_root=True,
        is_default=True,
        webhook_body=eachlabs.webhook_body,
    ),
)


def webhook_body(prediction: Prediction, image_links: ImageLinks, show: RenderOutput) -> bytes:
    """Render the webhook body of a final prediction in the dialect of its request.

    The same prediction gives the same bytes.
    """
    assert prediction.webhook is not None  # noqa: S101 -- only such are delivered
    return _WEBHOOK_BODIES[prediction.webhook.dialect](prediction, image_links, show)


_WEBHOOK_BODIES = {
    dialect.name: dialect.webhook_body for dialect in DIALECTS if dialect.webhook_body is not None
}

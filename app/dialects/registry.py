"""Lists the dialects. This module loads no HTTP framework, because the courier reads it too; see `http` for the routes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.dialects.eachlabs import webhook as eachlabs
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
    matches: re.Pattern[str] | None  # `METHOD /path` of its requests; None: all that are left
    webhook_body: RenderWebhook | None = None  # None: it has no webhooks


DIALECTS = (  # in the order of their routers: OpenAI's models share the paths of the hosted ones
    Dialect(name="openai", routes="app.dialects.openai.routes", matches=openai.REQUESTS),
    Dialect(
        name="eachlabs",
        routes="app.dialects.eachlabs.http",
        matches=None,
        webhook_body=eachlabs.webhook_body,
    ),
    Dialect(
        name="replicate",
        routes="app.dialects.replicate.routes",
        matches=replicate.REQUESTS,
        webhook_body=replicate.webhook_body,
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

"""Serves the webhook deliveries of the hosted API, and redelivery, which is not part of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.auth import KeyId
from app.api.long_json import LongJson
from app.api.state import state_of
from app.dialects.dependencies import READ_SLOT, ReadSlotsOf
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.responses import declare_errors, declare_responses
from app.dialects.eachlabs.routes import ViewOf
from app.dialects.eachlabs.webhook import attempts_of, delivery_body
from app.dialects.eachlabs.wire import View
from app.dialects.registry import webhook_body
from app.predictions.prediction import Prediction
from app.webhooks.delivery import Delivery
from app.webhooks.outbox import Outbox

router = APIRouter(tags=["webhooks"], responses=declare_errors(401, 503))


async def _outbox(request: Request) -> Outbox:
    return state_of(request.app).outbox


OutboxOf = Annotated[Outbox, Depends(_outbox)]


@router.get(
    "/v1/webhooks",
    response_model=None,
    responses=declare_responses(bodies.Webhooks, 400, 429),
    dependencies=[READ_SLOT],
)
async def webhooks(  # noqa: PLR0913 -- FastAPI passes each part by name
    key_id: KeyId,
    outbox: OutboxOf,
    read_slots: ReadSlotsOf,
    view: ViewOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Response:
    """List this key's webhook deliveries, newest first."""

    def read() -> Response:
        page = outbox.history(key_id, offset=offset, limit=limit)
        return LongJson(
            {
                "webhooks": [_delivery(view, p, delivery) for p, delivery in page.deliveries],
                "limit": limit,
                "offset": offset,
                "total_count": page.total,
            }
        )

    return await read_slots.read(key_id, read)


@router.get(
    "/v1/webhooks/{prediction_id}",
    response_model=None,
    responses=declare_responses(bodies.WebhookWithAttempts, 404),
)
def webhook(prediction_id: str, key_id: KeyId, outbox: OutboxOf, view: ViewOf) -> Response:
    """Show the webhook delivery of a prediction and its attempts."""
    return JSONResponse(_with_attempts(view, *outbox.get(key_id, prediction_id)))


@router.post(
    "/v1/webhooks/{prediction_id}/redeliver",
    response_model=None,
    responses=declare_responses(bodies.WebhookWithAttempts, 404, 429),
)
def redeliver(prediction_id: str, key_id: KeyId, outbox: OutboxOf, view: ViewOf) -> Response:
    """Deliver a webhook again, with all retries. Not part of the hosted API."""
    return JSONResponse(_with_attempts(view, *outbox.redeliver(key_id, prediction_id)))


def _delivery(view: View, prediction: Prediction, delivery: Delivery) -> dict[str, Any]:
    # URLs in sync mode too: a page of a hundred deliveries must not contain their images
    body = webhook_body(prediction, view, lambda output: view.url(prediction, output))
    return delivery_body(delivery, body)


def _with_attempts(view: View, prediction: Prediction, delivery: Delivery) -> dict[str, Any]:
    return _delivery(view, prediction, delivery) | {"attempts": attempts_of(delivery)}

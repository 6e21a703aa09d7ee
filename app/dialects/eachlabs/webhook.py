"""Renders webhook bodies and deliveries in the form of each::labs. Does no I/O."""

import json
from typing import Any

from app.dialects.eachlabs.output import output_of
from app.dialects.image_links import ImageLinks, RenderOutput, format_time
from app.predictions.prediction import Prediction
from app.webhooks.delivery import Delivery, DeliveryAttempt
from app.webhooks.messages import webhook_id
from app.webhooks.send import CONTENT_HEADERS


def webhook_body(prediction: Prediction, _image_links: ImageLinks, show: RenderOutput) -> bytes:
    """Render the body of a delivery. The same prediction gives the same bytes."""
    body: dict[str, Any] = {"exec_id": prediction.id, "flow_id": None}
    if prediction.failure is None:
        body |= {"status": "succeeded", "output": output_of(prediction, show)}
    else:
        reason = {"id": "", "status": "", "output": "", "error": prediction.failure.message}
        body |= {"status": "failed", "output": [reason]}
    body |= {"error": ""}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def delivery_body(delivery: Delivery, body: bytes) -> dict[str, Any]:
    """Render a delivery without its attempts, and without secret and signatures."""
    return {
        "execution_id": delivery.id,
        "url": delivery.url,
        "request": body.decode(),
        "headers": {**CONTENT_HEADERS, "webhook-id": webhook_id(delivery.id)},
        "source": "klein",
        "created_at": format_time(delivery.created_at),
    }


def attempts_of(delivery: Delivery) -> list[dict[str, Any]]:
    """Render all attempts. Before the first one, render a pending attempt."""
    if not delivery.attempts:
        pending = DeliveryAttempt(at=delivery.created_at)
        return [_attempt(pending) | {"status": "PENDING"}]
    return [_attempt(attempt) for attempt in delivery.attempts]


def _attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {
        "status": "SUCCESS" if attempt.is_acknowledged else "FAILED",
        "status_code": attempt.status_code,
        "response": attempt.response,
        "error_message": attempt.error,
        "created_at": format_time(attempt.at),
    }

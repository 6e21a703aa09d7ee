"""Maps requests and predictions to and from the form of each::labs. Does no I/O."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from app.api.errors import BadRequest
from app.dialects.eachlabs.bodies import CreateBody
from app.dialects.eachlabs.output import CLASSIFICATIONS, output_of
from app.dialects.image_links import ImageLinks, RenderOutput, format_time
from app.predictions.accounts import cost_of
from app.predictions.catalog import Model
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.prediction import Idempotency, Prediction, Status, Webhook
from app.predictions.problems import problems_of
from app.predictions.timeline import timeline_of, whole_time
from app.webhooks.address import find_problem

LIVE = {
    Status.QUEUED: "created",
    Status.RUNNING: "processing",
    Status.SUCCEEDED: "success",
    Status.FAILED: "error",
    Status.CANCELLED: "cancelled",
}
DOCUMENTED = LIVE | {Status.QUEUED: "starting", Status.FAILED: "failed"}
_RUN = {Status.SUCCEEDED: "success", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}
_RUN_MESSAGE = {
    Status.SUCCEEDED: "Prediction completed successfully",
    Status.FAILED: "Prediction failed",
    Status.CANCELLED: "Prediction was cancelled",
}
_FILTERS = {
    "created": Status.QUEUED,
    "starting": Status.QUEUED,
    "success": Status.SUCCEEDED,
    "error": Status.FAILED,
}


SECRET_MAX = 512  # characters
_SECRET = re.compile(rf"[\x21-\x7e]{{0,{SECRET_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class View(ImageLinks):
    """Renders predictions for one caller."""

    status_names: dict[Status, str]

    def accepted(self, prediction: Prediction) -> dict[str, Any]:
        """Render the response to a create."""
        return {
            "status": "success",
            "message": "Prediction created successfully",
            "predictionID": prediction.id,
            "id": prediction.id,
        }

    def cancelled(self, prediction: Prediction) -> dict[str, Any]:
        """Render the response to a cancel."""
        return {
            "status": "cancelled" if self.status_names is DOCUMENTED else "success",
            "message": "Prediction canceled successfully",
            "predictionID": prediction.id,
            "id": prediction.id,
        }

    def prediction(self, prediction: Prediction, show: RenderOutput) -> dict[str, Any]:
        """Render a prediction."""
        url = f"{self.base}/v1/prediction/{prediction.id}"
        is_success = prediction.status is Status.SUCCEEDED
        body = {
            "id": prediction.id,
            "predictionID": prediction.id,
            "input": self.input(prediction),
            "logs": "\n".join(prediction.notes) or None,
            "status": self.status_names[prediction.status],
            "output": output_of(prediction, show),
            "metrics": {
                "predict_time": prediction.run_time.total_seconds() if is_success else 0,
                "cost": cost_of(prediction),
            },
            "urls": {"cancel": f"{url}/cancel", "get": url},
        }
        if prediction.failure is not None:
            body["error"] = prediction.failure.message
        return body

    def run(self, prediction: Prediction, show: RenderOutput) -> dict[str, Any]:
        """Render the response to a run."""
        return {
            "status": _RUN[prediction.status],
            "message": _RUN_MESSAGE[prediction.status],
            "predictionID": prediction.id,
            "output": output_of(prediction, show),
            "error": prediction.failure.message if prediction.failure else "",
        }

    def execution(self, prediction: Prediction) -> dict[str, Any]:
        """Render a prediction for the history."""
        first = prediction.outputs[0] if prediction.outputs else None
        return {
            "id": prediction.id,
            "model": prediction.model,
            "requested_model": None,
            "status": self.status_names[prediction.status],
            "workflow_id": None,
            "workflow_execution_id": None,
            "execution_cost": cost_of(prediction),
            "run_time": prediction.run_time.total_seconds(),
            "created_at": format_time(prediction.created_at),
            "started_at": format_time(prediction.started_at),
            "completed_at": format_time(prediction.finished_at),
            "output": None if first is None else self.url(prediction, first),
        }


def history_entry(view: View, prediction: Prediction) -> dict[str, Any]:
    """Render a prediction for the history with its input. Outputs are URLs even in sync mode."""
    body = view.prediction(prediction, lambda output: view.url(prediction, output))
    return body | {
        "model": prediction.model,
        "created_at": format_time(prediction.created_at),
        "completed_at": format_time(prediction.finished_at),
    }


def timeline_body(
    view: View, prediction: Prediction, acknowledged_at: datetime | None = None
) -> dict[str, Any]:
    """Render the timeline of a prediction, whose webhook was acknowledged then."""
    total = whole_time(prediction, acknowledged_at)
    return {
        "id": prediction.id,
        "status": view.status_names[prediction.status],
        "attempt": prediction.attempt,
        "stages": [
            {"stage": s.stage, "ms": s.ms} for s in timeline_of(prediction, acknowledged_at)
        ],
        "total_ms": None if total is None else round(total.total_seconds() * 1000),
    }


def parse_create(body: dict[str, Any]) -> CreateBody:
    """Parse the body of a create or run. Raises BadRequest or InvalidInput."""
    if not body.get("model"):
        raise BadRequest("model field is required", "model: send a slug that GET /v1/models lists")
    try:
        parsed = CreateBody.model_validate(body)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    problems = []
    if parsed.webhook_url and (problem := find_problem(parsed.webhook_url)):
        problems.append(FieldProblem(field="webhook_url", message=problem))
    if not _SECRET.fullmatch(parsed.webhook_secret or ""):
        message = f"send at most {SECRET_MAX} visible ASCII characters"
        problems.append(FieldProblem(field="webhook_secret", message=message))
    if problems:
        raise InvalidInput(*problems)
    return parsed


def read_webhook(parsed: CreateBody, base: str) -> Webhook | None:
    """Return the webhook of a request, if it has one. `base` is the base of the URLs in its body."""
    if not parsed.webhook_url:
        return None
    return Webhook(url=parsed.webhook_url, secret=parsed.webhook_secret or None, base=base)


def read_idempotency(parsed: CreateBody, key: str | None) -> Idempotency | None:
    """Return the idempotency key of a request with the fingerprint of its body, if it has a key."""
    if key is None:
        return None
    content = parsed.model_dump(exclude={"version"})
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return Idempotency(key=key, fingerprint=hashlib.sha256(canonical.encode()).hexdigest())


def parse_statuses(text: str) -> frozenset[Status]:
    """Parse the status filter of the history. Empty means all. Raises BadRequest."""
    tokens = [token.strip() for token in text.split(",") if token.strip()]
    unknown = [token for token in tokens if token not in _FILTERS]
    if unknown:
        allowed = ", ".join(_FILTERS)
        raise BadRequest(
            "invalid status parameter", f"status: send a comma-separated list of {allowed}"
        )
    return frozenset(_FILTERS[token] for token in tokens) or frozenset(Status)


def parse_classifications(text: str) -> frozenset[str]:
    """Parse the filter of failures of the history. Empty means no filter. Raises BadRequest."""
    tokens = frozenset(token.strip() for token in text.split(",") if token.strip())
    if tokens - set(CLASSIFICATIONS):
        details = (
            f"error_classification: send a comma-separated list of {', '.join(CLASSIFICATIONS)}"
        )
        raise BadRequest("invalid error_classification parameter", details)
    return tokens


def model_body(model: Model, weights: str | None) -> dict[str, Any]:
    """Render a model."""
    return {
        "title": model.title,
        "slug": model.slug,
        "version": "0.0.1",
        "output_type": "array",
        "request_schema": model.request_schema,
        "weights": weights,
        "licence": model.checkpoint.licence,
    }


def model_openapi(model: Model, base: str) -> dict[str, Any]:
    """Build an OpenAPI 3.0 document for one model."""
    body = {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": [model.slug]},
            "input": model.request_schema,
            "webhook_url": {"type": "string"},
        },
    }
    answer = {
        "type": "object",
        "properties": {
            "status": {"type": "string"},
            "message": {"type": "string"},
            "predictionID": {"type": "string"},
        },
    }
    key = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    create = {
        "summary": f"Create a prediction with {model.title}",
        "operationId": f"create-{quote(model.slug)}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "accepted",
                "content": {"application/json": {"schema": answer}},
            }
        },
    }
    get = {
        "summary": "Get a prediction",
        "operationId": "get-prediction",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ],
        "responses": {"200": {"description": "the prediction"}},
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": model.title, "version": "0.0.1"},
        "servers": [{"url": base}],
        "security": [{"ApiKeyAuth": []}],
        "paths": {"/v1/prediction": {"post": create}, "/v1/prediction/{id}": {"get": get}},
        "components": {"securitySchemes": {"ApiKeyAuth": key}},
    }

"""Serves OpenAI's images and models routes, and renders errors in OpenAI's form."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from app.api.auth import KeyId
from app.api.errors import BadBody, ErrorResponse, Unauthorized
from app.api.forms import read_form
from app.api.state import state_of
from app.dialects.dependencies import ImageLinksOf, JsonBody, ServiceOf, wait_for_end
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.image_links import ImageLinks
from app.dialects.openai import wire
from app.predictions.errors import (
    AlreadyFinal,
    FieldProblem,
    InvalidInput,
    KleinError,
    UnknownModel,
)
from app.predictions.prediction import Cause, Prediction, Status
from app.predictions.service import Service

_NO_RETRY = {"x-should-retry": "false"}  # otherwise the client repeats the whole request
_CAUSES = {Cause.WITHHELD: "content_policy_violation"}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


class NoImage(KleinError):
    """The prediction ended without an image."""

    def __init__(self, prediction: Prediction) -> None:
        failure = prediction.failure
        super().__init__(failure.message if failure else "the prediction was cancelled")
        is_caller_error = failure is None or failure.cause.is_caller_error
        self.status = 400 if is_caller_error else 500
        self.code = _CAUSES.get(failure.cause, failure.cause) if failure else "cancelled"


class OwnClientsRoute(APIRoute):
    """Matches only requests of OpenAI's clients: the hosted API uses the same paths."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match where the header is present that all OpenAI clients send."""
        if "x-stainless-lang" not in Headers(scope=scope):
            return Match.NONE, {}
        return super().matches(scope)


images = APIRouter(include_in_schema=False)  # documented by OpenAI
models = APIRouter(include_in_schema=False, route_class=OwnClientsRoute)


@images.post("/v1/images/generations", response_model=None)
async def generate(
    request: Request, key_id: KeyId, body: JsonBody, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Generate images and return them."""
    return await _generate(request, key_id, body, [], service, image_links)


@images.post("/v1/images/edits", response_model=None)
async def edit(
    request: Request, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Edit images and return the result."""
    async with read_form(request, state_of(request.app).body_max_bytes) as form:
        files = [
            value
            for name, value in form.multi_items()
            if name in {"image", "image[]"} and isinstance(value, UploadFile)
        ]
        reference_images = [wire.data_uri(await file.read()) for file in files]
    if not reference_images:
        raise InvalidInput(FieldProblem(field="image", message="send one image or several"))
    return await _generate(request, key_id, dict(form), reference_images, service, image_links)


@models.get("/v1/models", response_model=None)
def list_models(service: ServiceOf) -> Response:
    """List the models that workers serve."""
    return JSONResponse(wire.models_body(service.served_kinds()))


@models.get("/v1/models/{name}", response_model=None)
def show_model(name: str, service: ServiceOf) -> Response:
    """Show one model."""
    try:
        service.find_model(wire.find_slug(name, service.served_kinds(), is_edit=False))
    except UnknownModel as exc:
        error = render_error(exc)
        return JSONResponse(error.body, error.status)
    return JSONResponse(wire.model_body(name))


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error in OpenAI's form; only a malformed body has another status than elsewhere."""
    if isinstance(exc, NoImage):
        body = wire.error_body(exc.status, str(exc), None, exc.code)
        return ErrorResponse(status=exc.status, body=body, headers=_NO_RETRY)
    description = describe_error(exc)
    status = 400 if isinstance(exc, BadBody) else description.status
    details = description.details
    message = details if isinstance(details, str) and details else description.error
    param, code = None, _CODES.get(status)
    if isinstance(exc, Unauthorized):
        message = "Incorrect API key provided: send one of this server as Authorization: Bearer"
    if isinstance(exc, UnknownModel):
        message = f"The model `{exc}` does not exist here; GET /v1/models lists what does"
        param, code = "model", "model_not_found"
    if isinstance(exc, InvalidInput):
        message, param, code = str(exc), exc.problems[0].field, "invalid_value"
    body = wire.error_body(status, message, param, code)
    return ErrorResponse(status=status, body=body, headers=description.headers)


HTTP = HttpDialect(routers=(models, images), render_error=render_error)


async def _generate(  # noqa: PLR0913 -- what FastAPI gave to the route
    request: Request,
    key_id: str,
    body: dict[str, Any],
    reference_images: list[str],
    service: Service,
    image_links: ImageLinks,
) -> Response:
    parsed = wire.parse_body(body)
    slug = wire.find_slug(parsed.model, service.served_kinds(), is_edit=bool(reference_images))
    try:
        created = await run_in_threadpool(
            service.submit, key_id, slug, wire.read_input(parsed, reference_images)
        )
    except InvalidInput as exc:
        raise wire.rename_fields(exc) from None
    try:
        ended = await wait_for_end(request, service, created, None)
    except ClientDisconnect:
        # the client never received the id, so it cannot fetch the result
        with suppress(AlreadyFinal):
            await run_in_threadpool(service.cancel, key_id, created.id)
        raise
    if ended.status is not Status.SUCCEEDED:
        raise NoImage(ended)
    files = None
    if parsed.response_format != "url":
        files = await run_in_threadpool(
            lambda: [service.read_output(output) for output in ended.outputs]
        )
    shown = wire.images_body(
        ended, image_links, files, with_urls=parsed.response_format != "b64_json"
    )
    return JSONResponse(shown)

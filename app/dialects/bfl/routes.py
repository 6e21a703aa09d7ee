"""Serves the routes of Black Forest Labs, and renders errors in their form."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from app.api.auth import KeyId
from app.api.errors import ErrorResponse, Unauthorized
from app.dialects.bfl import wire
from app.dialects.dependencies import (
    ImageLinksOf,
    ServiceOf,
    create_body,
    output_renderer,
    submit,
)
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.predictions.catalog import find_model
from app.predictions.errors import InvalidInput, UnknownPrediction
from app.predictions.problems import location
from app.predictions.submission import Submission

router = APIRouter(include_in_schema=False)  # documented by Black Forest Labs


@router.get("/v1/get_result", response_model=None)
async def get_result(
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
    prediction_id: Annotated[str, Query(alias="id", max_length=100)],
) -> Response:
    """Show a prediction. An unknown id is an answer, not an error."""
    try:
        prediction = await service.get(key_id, prediction_id)
    except UnknownPrediction:
        return JSONResponse(wire.not_found_body(prediction_id), 404)
    show = output_renderer(prediction, service, image_links)
    return JSONResponse(await run_in_threadpool(wire.result_body, prediction, show))


@router.get("/v1/credits", response_model=None)
def credit(_key_id: KeyId) -> Response:
    """Return the credits of a key. Nobody bills them."""
    return JSONResponse({"credits": 1_000_000.0})


@router.post("/v1/{name}", response_model=None)
async def create(
    request: Request,
    name: str,
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
) -> Response:
    """Create a prediction and return its id and the URL to poll."""
    async with create_body(request, key_id, takes_base64=True) as (content, images):
        body = wire.parse_create(content)
        served = await run_in_threadpool(service.served_kinds)
        own_name = wire.find_name(name, served)
        slug, model_input = wire.read_input(own_name, body)
        is_guided = find_model(slug, served).checkpoint.is_guided
        notes = wire.read_notes(content, is_guided=is_guided)
        if name != own_name:
            notes = (f"{name} is not served here: {own_name} drew this", *notes)
        submission = Submission(
            key_id=key_id,
            slug=slug,
            input=model_input,
            images=images,
            webhook=wire.read_webhook(body, image_links.base),
            notes=notes,
        )
        try:
            created = await submit(request, service, submission)
        except InvalidInput as exc:
            raise wire.rename_fields(exc, body) from None
    return JSONResponse(wire.accepted_body(created, image_links))


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error: `detail` is a list of the wrong fields, or a sentence."""
    description = describe_error(exc)
    status = 422 if isinstance(exc, InvalidInput) else description.status
    detail: Any = description.details or description.error
    if isinstance(exc, HTTPException):
        detail = f"{description.error}: {description.details}"
    if isinstance(exc, Unauthorized):
        detail = "Not authenticated: send a key of this server as x-key"
    if isinstance(exc, InvalidInput):
        detail = [
            {"loc": ["body", *location(p.field)], "msg": p.message, "type": "value_error"}
            for p in exc.problems
        ]
    return ErrorResponse(status=status, body={"detail": detail}, headers=description.headers)


HTTP = HttpDialect(routers=(router,), render_error=render_error)

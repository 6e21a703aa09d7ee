"""Serves the models of the hosted API, without authentication."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.compression import compress
from app.api.errors import BadRequest
from app.api.state import state_of
from app.dialects.dependencies import ServiceOf
from app.dialects.eachlabs import bodies, wire
from app.dialects.eachlabs.responses import declare_errors, declare_responses
from app.dialects.eachlabs.routes import ViewOf

router = APIRouter(tags=["models"], responses=declare_errors(429, 503))


@router.get(
    "/v1/models",
    response_model=None,
    responses=declare_responses(list[bodies.ModelBody], 400),
)
def models(
    request: Request,
    name: Annotated[
        str, Query(description="Only models whose title or slug contains this text.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Response:
    """List the models that workers serve."""
    part = name.lower()
    shown = [
        wire.model_body(model, weights)
        for model, weights in state_of(request.app).served_models.get()
        if part in model.slug.lower() or part in model.title.lower()
    ]
    return compress(request, JSONResponse(shown[offset : offset + limit]))


@router.get(
    "/v1/models/{slug}",
    response_model=None,
    responses=declare_responses(bodies.ModelBody, 404),
)
def model_by_path(slug: str, service: ServiceOf) -> Response:
    """Show a model and the schema of its input."""
    model = service.find_model(slug)
    return JSONResponse(wire.model_body(model, service.weights_of(model)))


@router.get(
    "/v1/model",
    response_model=None,
    responses=declare_responses(bodies.ModelBody, 400, 404),
)
def model_by_query(service: ServiceOf, slug: Annotated[str, Query()] = "") -> Response:
    """Show a model and the schema of its input."""
    if not slug:
        raise BadRequest("slug parameter is required", "slug: send the slug of a model")
    return model_by_path(slug, service)


@router.get(
    "/v1/models/{slug}/schemas/openapi",
    response_model=None,
    responses=declare_responses(dict[str, Any], 404),
)
def model_openapi(slug: str, service: ServiceOf, view: ViewOf) -> Response:
    """Return an OpenAPI document for this model."""
    return JSONResponse(wire.model_openapi(service.find_model(slug), view.base))

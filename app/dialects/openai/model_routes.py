"""Serves the list of models in OpenAI's form."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.state import state_of
from app.dialects.dependencies import ServiceOf
from app.dialects.http import VendorRoute
from app.dialects.openai import wire
from app.dialects.openai.names import ModelNames


class OpenAiRoute(VendorRoute):
    """At a path of another dialect, matches only OpenAI's clients."""

    dialect = "openai"


router = APIRouter(include_in_schema=False, route_class=OpenAiRoute)  # documented by OpenAI


@router.get("/v1/models", response_model=None)
def list_models(request: Request, service: ServiceOf) -> Response:
    """List the models that workers serve, by every name."""
    names = ModelNames.of(state_of(request.app).openai_models)
    return JSONResponse(wire.models_body(names.list_all(service.served_kinds())))


@router.get("/v1/models/{name:path}", response_model=None)
def show_model(request: Request, name: str, service: ServiceOf) -> Response:
    """Show one model."""
    names = ModelNames.of(state_of(request.app).openai_models)
    service.find_model(names.find_slug(name, service.served_kinds(), is_edit=False))
    return JSONResponse(wire.model_body(name))

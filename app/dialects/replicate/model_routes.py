"""Serves the models and their versions in Replicate's form."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.auth import KeyId
from app.api.connection import read_chunks
from app.dialects.dependencies import ImageLinksOf, ServiceOf
from app.dialects.image_links import ImageLinks
from app.dialects.replicate import wire
from app.dialects.replicate.file_routes import ReplicateRoute
from app.dialects.replicate.models import OWNER, check_model, model_of
from app.dialects.replicate.routes import EPOCH
from app.predictions.service import Service

QUERY_MAX_BYTES = 4096
router = APIRouter(include_in_schema=False)  # documented by Replicate
shared = APIRouter(include_in_schema=False, route_class=ReplicateRoute)


@shared.get("/v1/models", response_model=None)
def list_models(service: ServiceOf, image_links: ImageLinksOf) -> Response:
    """List the models that workers serve."""
    return _found("", service, image_links)


@shared.api_route("/v1/models", methods=["QUERY"], response_model=None)
async def search_models(
    request: Request, _key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """List the models whose name or description contains each word of the body."""
    body = b"".join([chunk async for chunk in read_chunks(request, QUERY_MAX_BYTES)])
    query = body.decode(errors="replace").strip('"')  # npm's client sends JSON
    return _found(query, service, image_links)


@router.get("/v1/search", response_model=None)
def search(
    _key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
    query: Annotated[str, Query()] = "",
) -> Response:
    """Search the models. Collections and pages are always empty."""
    models = [{"model": body, "metadata": {}} for body in _matching(query, service, image_links)]
    return JSONResponse({"query": query, "models": models, "collections": [], "pages": []})


@router.get("/v1/models/{owner}/{name}", response_model=None)
def model(owner: str, name: str, image_links: ImageLinksOf) -> Response:
    """Show a model."""
    check_model(owner, name)
    return JSONResponse(wire.model_body(name, image_links.api, EPOCH))


@router.get("/v1/models/{owner}/{name}/readme", response_model=None)
def readme(owner: str, name: str, image_links: ImageLinksOf) -> Response:
    """Show the description of a model as Markdown."""
    check_model(owner, name)
    description = wire.model_body(name, image_links.api, EPOCH)["description"]
    return Response(f"# {name}\n\n{description}\n", media_type="text/plain")


@router.get("/v1/models/{owner}/{name}/examples", response_model=None)
def examples(owner: str, name: str) -> Response:
    """List the examples of a model. There are none."""
    check_model(owner, name)
    return JSONResponse(wire.list_body([]))


@router.get("/v1/models/{owner}/{name}/versions", response_model=None)
def versions(owner: str, name: str) -> Response:
    """List the versions of a model. There is one."""
    check_model(owner, name)
    return JSONResponse(wire.list_body([wire.version_body(name, EPOCH)]))


@router.get("/v1/models/{owner}/{name}/versions/{version}", response_model=None)
def version(owner: str, name: str, version: str) -> Response:
    """Show the version of a model."""
    check_model(owner, name)
    model_of(f"{OWNER}/{name}:{version}")
    return JSONResponse(wire.version_body(name, EPOCH))


def _found(query: str, service: Service, image_links: ImageLinks) -> Response:
    return JSONResponse(wire.list_body(_matching(query, service, image_links)))


def _matching(query: str, service: Service, image_links: ImageLinks) -> list[dict[str, object]]:
    words = query.casefold().split()
    bodies = [
        wire.model_body(name, image_links.api, EPOCH)
        for name in wire.served_models(service.served_kinds())
    ]
    return [
        body
        for body in bodies
        if all(word in f"{OWNER}/{body['name']} {body['description']}".casefold() for word in words)
    ]

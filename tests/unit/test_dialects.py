"""Tests of the dialect registry, and of what routes may use of the service."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, TypeAdapter, ValidationError

from app.api.errors import RenderError
from app.dialects.callers import find_vendor
from app.dialects.errors import describe_error
from app.dialects.http import error_renderer, load_http
from app.dialects.registry import DIALECTS, Dialect
from app.predictions.errors import FieldProblem, InvalidInput, UnknownPrediction

ROOT = Path(__file__).parents[2]
ROUTE_FILES = sorted(
    path for folder in ("api", "dialects") for path in (ROOT / "app" / folder).rglob("*.py")
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_each_dialect_has_routes_and_renders_errors(dialect: Dialect) -> None:
    """The module that a dialect names has routers with routes, and renders an unexpected error as a 500 without details."""
    http = load_http(dialect)
    rendered = http.render_error(RuntimeError("secret"))

    assert all(router.routes for router in (*http.first, *http.routers))
    assert rendered.status == 500
    assert "secret" not in str(rendered.body)


@pytest.mark.parametrize("name", ["bfl", "fal"])
@pytest.mark.parametrize(
    ("exc", "status", "detail"),
    [
        (UnknownPrediction("x"), 404, "There is no such prediction"),
        (InvalidInput(FieldProblem(field="seed", message="send a number")), 422, "send a number"),
        (RuntimeError("secret"), 500, "Internal server error"),
    ],
)
def test_vendors_that_use_fastapi_have_its_form_of_errors(name, exc, status, detail) -> None:
    """The errors of Black Forest Labs and fal have the form of FastAPI: `detail`."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == name)
    rendered = load_http(dialect).render_error(exc)

    assert rendered.status == status
    assert detail in str(rendered.body["detail"])


@pytest.mark.parametrize(
    ("value", "details"),
    [
        ("soon", "wait: must be a number of seconds"),
        ("nan", "wait: must be a number of seconds"),
        ("61", "wait: must be at most 60 seconds"),
        ("-1", "wait: must be at least 0 seconds"),
    ],
)
def test_duration_that_is_invalid_is_told_its_unit(value: str, details: str) -> None:
    """What is wrong with a duration in a query or a header is described in seconds."""
    duration = TypeAdapter(Annotated[float, Field(ge=0, le=60)])
    with pytest.raises(ValidationError) as caught:
        duration.validate_python(value)
    errors = [{**error, "loc": ("query", "wait")} for error in caught.value.errors()]

    assert describe_error(RequestValidationError(errors)).details == details


def test_routes_that_are_tried_first_hide_none() -> None:
    """No other route at the root matches a request for one of the routers that are tried before all others."""
    at_root = [load_http(dialect) for dialect in DIALECTS if dialect.is_at_root]
    first = api_routes(router for http in at_root for router in http.first)
    others = api_routes(router for http in at_root for router in http.routers)

    assert first
    assert [
        (route.path, other.path)
        for route in first
        for other in others
        if other.path_regex.match(route.path)
        and (other.methods or set()) & (route.methods or set())
    ] == []


def api_routes(routers: Iterable[APIRouter]) -> list[APIRoute]:
    """Return the routes of routers."""
    return [route for r in routers for route in r.routes if isinstance(route, APIRoute)]


def test_exactly_one_dialect_is_default() -> None:
    """Paths that belong to no other dialect belong to the hosted API."""
    rest = [dialect.name for dialect in DIALECTS if dialect.is_default]

    assert rest == ["eachlabs"]
    assert renderer_of("/nothing") is renderer_of("/v1/prediction")


@pytest.mark.parametrize("dialect", [d for d in DIALECTS if d.prefix], ids=lambda d: d.name)
@pytest.mark.parametrize("path", ["", "/", "/v1/nothing", "/v1/prediction", "/v1/models"])
def test_every_path_below_a_prefix_has_the_errors_of_its_dialect(dialect: Dialect, path) -> None:
    """Errors below the prefix of a dialect are in its form, whichever client asks. A longer name is another path."""
    own = load_http(dialect).render_error

    assert renderer_of(dialect.prefix + path, agent="Replicate/Python") is own
    assert renderer_of(f"{dialect.prefix}x{path}") is not own


@pytest.mark.parametrize(
    ("headers", "vendor"),
    [
        ({"user-agent": "OpenAI/Python 3.54.0"}, "openai"),
        ({"user-agent": "AsyncOpenAI/JS 7.0"}, "openai"),
        ({"user-agent": "axios/1.7", "OpenAI-Organization": "o"}, "openai"),
        ({"user-agent": "", "x-stainless-lang": "js"}, "openai"),
        ({"user-agent": "Replicate/Python 2.0.0b4", "x-stainless-lang": "python"}, "replicate"),
        ({"user-agent": "AsyncReplicate/Python 2.0.0b4"}, "replicate"),
        ({"user-agent": "replicate-python/1.0.7"}, "replicate"),
        ({"user-agent": "replicate-javascript/1.4.0"}, "replicate"),
        ({"user-agent": "ai/7.0.0 ai-sdk/replicate/3.0.46 runtime/node.js"}, "replicate"),
        ({"user-agent": "curl/8.5.0"}, None),
        ({}, None),
    ],
)
def test_clients_are_recognised(headers, vendor) -> None:
    """A shared path goes to the vendor whose client sent the request, and to the hosted API if the headers do not tell."""
    assert find_vendor(headers) == vendor


def renderer_of(path: str, agent: str = "") -> RenderError:
    headers = [(b"user-agent", agent.encode())]
    return error_renderer({"type": "http", "method": "GET", "path": path, "headers": headers})


def test_every_dialect_folder_is_registered() -> None:
    """Each folder with a wire.py is a registered dialect."""
    folders = {path.parent.name for path in (ROOT / "app" / "dialects").glob("*/wire.py")}

    assert {dialect.name for dialect in DIALECTS} == folders


@pytest.mark.parametrize("path", ROUTE_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_routes_use_only_methods_of_service(path: Path) -> None:
    """Routes and dialects use the service's own methods, never the attributes of its parts."""
    reached = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and _is_service(node.value.value)
    ]

    assert reached == []


def _is_service(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.strip("_") == "service"

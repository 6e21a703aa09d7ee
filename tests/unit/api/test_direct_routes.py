"""Direct routes, which are served before FastAPI's router, and the application around them."""

import pytest
from fastapi import APIRouter, Request
from fastapi.middleware import Middleware
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.api.application import Application
from app.api.direct_route import DirectRoute
from app.api.direct_routes import DirectRoutes, direct_routes
from app.api.errors import BadBody, ErrorResponse, install_errors
from app.api.requests import RequestLog
from app.main import create_app
from app.settings import Settings


class Router:
    """Middleware that counts the requests which reach FastAPI's router."""

    served = 0

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        Router.served += 1
        await self.app(scope, receive, send)


def error_renderer(_scope):
    return lambda exc: ErrorResponse(status=499, body={"error": type(exc).__name__})


def create_routes():
    app = Application(
        openapi_url=None,
        middleware=[
            Middleware(RequestLog, error_renderer=error_renderer),
            Middleware(DirectRoutes, error_renderer=error_renderer),
            Middleware(Router),
        ],
    )
    direct = APIRouter(route_class=DirectRoute)

    @direct.get("/names/{name:path}", response_model=None)  # noqa: FAST003 -- it takes the request alone
    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.path_params["name"])

    @direct.post("/errors/{kind}", response_model=None)  # noqa: FAST003 -- likewise
    async def fail(request: Request) -> PlainTextResponse:
        raise BadBody if request.path_params["kind"] == "known" else ValueError

    install_errors(app, error_renderer)
    app.router.routes.extend(direct.routes)

    @app.get("/errors/{kind}")
    def fail_in_router(kind: str) -> None:
        raise BadBody if kind == "known" else ValueError

    return app


@pytest.fixture
def client():
    Router.served = 0
    with TestClient(create_routes(), raise_server_exceptions=False) as client:
        Router.served = 0  # the app's start passes, too
        yield client


def test_direct_routes_do_not_reach_the_router(client):
    """A direct route is served by its path and its method, without the router. The metric has its path."""
    labels = {"method": "GET", "route": "/names/{name:path}", "status": "200"}
    before = REGISTRY.get_sample_value("klein_http_requests_total", labels) or 0.0
    response = client.get("/names/a/b%20c")

    assert (response.status_code, response.text, Router.served) == (200, "a/b c", 0)
    assert REGISTRY.get_sample_value("klein_http_requests_total", labels) == before + 1


def test_other_methods_and_paths_reach_the_router(client):
    """A direct route leaves other methods to the router, which serves them or refuses them."""
    responses = [client.get("/errors/known"), client.put("/errors/known"), client.get("/nothing")]

    assert Router.served == 3
    assert [response.json() for response in responses] == [
        {"error": "BadBody"},
        {"error": "HTTPException"},
        {"error": "HTTPException"},
    ]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(("kind", "logs"), [("known", 0), ("other", 1)])
def test_errors_are_rendered(client, method, kind, logs):
    """What a route raises is a response in the form of its dialect, with or without the router. An unexpected error is logged."""
    with capture_logs() as events:
        response = client.request(method, f"/errors/{kind}")

    assert response.status_code == 499
    assert response.json() == {"error": {"known": "BadBody", "other": "ValueError"}[kind]}
    assert [event["event"] for event in events].count("request_failed") == logs


def test_all_direct_routes_are_found(tmp_path):
    """The app has its direct routes before all others, so that each of them is served without the router."""
    routes = create_app(Settings(data=tmp_path)).routes
    found = [route.path for route in direct_routes(routes)]

    assert found == [route.path for route in routes if isinstance(route, DirectRoute)]
    assert {"/v1/prediction", "/v1/prediction/{prediction_id}", "/files/{key:path}"} <= {*found}

"""Routes that read their parameters themselves, beside those for which FastAPI does."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from app.api.direct_route import DirectRoute, NumberParameter

WAIT = Query(alias="wait", ge=0, le=60)
TIMEOUT = Header(alias="X-Timeout", gt=0, allow_inf_nan=False)
NUMBERS = ["5", "0", "60", "61", "-1", " 5 ", "1e1", "nan", "inf", "x", "", "5,6"]


def never(
    wait: Annotated[float | None, WAIT] = None, timeout: Annotated[float | None, TIMEOUT] = None
) -> None:
    raise AssertionError(wait, timeout)


def create_app():
    app = FastAPI()
    direct = APIRouter(route_class=DirectRoute)

    @app.get("/resolved")
    async def resolved(
        wait: Annotated[float | None, WAIT] = None,
        timeout: Annotated[float | None, TIMEOUT] = None,
    ) -> list[float | None]:
        return [wait, timeout]

    @direct.get("/direct", dependencies=[Depends(never)], response_model=None)
    async def read(request: Request) -> JSONResponse:
        return JSONResponse([NumberParameter(p).read(request) for p in (WAIT, TIMEOUT)])

    @direct.get("/refused", response_model=None)
    async def refuse(_request: Request) -> JSONResponse:
        raise HTTPException(418, "no")

    @app.exception_handler(RequestValidationError)
    async def handle(_request, exc):
        return JSONResponse(
            [
                {name: error.get(name) for name in ("type", "loc", "msg", "ctx")}
                for error in exc.errors()
            ],
            400,
        )

    app.router.routes.extend(direct.routes)
    app.include_router(direct, prefix="/below")
    return app


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app()) as client:
        yield client


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("place", ["params", "headers"])
def test_numbers_are_read_as_fastapi_reads_them(client, place, text):
    """A number in the query or in a header has the same value, or the same error, as with FastAPI."""
    sent = {place: {"wait" if place == "params" else "X-Timeout": text}}
    resolved, direct = client.get("/resolved", **sent), client.get("/direct", **sent)

    assert (direct.status_code, direct.json()) == (resolved.status_code, resolved.json())


def test_absent_numbers_are_none(client):
    """A request without the numbers is served, and no dependency is called."""
    assert client.get("/direct").json() == [None, None]


@pytest.mark.parametrize("prefix", ["", "/below"])
def test_the_app_renders_errors(client, prefix):
    """An error of a direct route reaches the handlers of the app."""
    refused = client.get(f"{prefix}/refused")

    assert (refused.status_code, refused.json()) == (418, {"detail": "no"})


@pytest.mark.parametrize("prefix", ["", "/below"])
def test_other_methods_are_refused(client, prefix):
    """A direct route serves its methods only, with the status and header of FastAPI."""
    responses = [client.delete(path) for path in ("/resolved", prefix + "/direct")]

    assert [r.status_code for r in responses] == [405, 405]
    assert [r.headers["Allow"] for r in responses] == ["GET", "GET"]


@pytest.mark.parametrize("path", ["/direct", "/below/direct"])
def test_serves_below_a_prefix(client, path):
    """A direct route serves below the prefix of a dialect, too."""
    assert client.get(f"{path}?wait=3").json() == [3.0, None]


def test_the_last_of_several_counts(client):
    """Of several values in the query FastAPI takes the last one, and so does a direct route."""
    assert (
        client.get("/direct?wait=1&wait=2").json() == client.get("/resolved?wait=1&wait=2").json()
    )


def test_documents_are_those_of_dependencies(client):
    """FastAPI documents the same parameters for both routes."""
    paths = client.get("/openapi.json").json()["paths"]

    assert paths["/direct"]["get"]["parameters"] == paths["/resolved"]["get"]["parameters"]

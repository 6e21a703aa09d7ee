"""The security headers of every response of the shipped system."""

import re

import httpx
import pytest

from tests.support.api_client import TEXT, order, run
from tests.support.klein_server import Klein

NOWHERE = "/v1/prediction/00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/v1/models"),
        ("GET", "/v1/executions"),
        ("GET", NOWHERE),
        ("GET", "/nothing"),
        ("GET", "/files/x.png"),
        ("PUT", "/v1/prediction"),
        ("POST", "/v1/prediction"),
        ("OPTIONS", "/v1/prediction"),
    ],
)
def test_responses_have_security_headers(client: httpx.Client, method: str, path: str) -> None:
    """No response may be sniffed, framed, executed or send a referrer, and none names its server."""
    headers = client.request(method, path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"]
    assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)


@pytest.mark.parametrize(
    "path", ["/", "/livez", "/readyz", "/docs", "/openapi.json", "/v1/models", NOWHERE, "/nothing"]
)
def test_head_is_get_without_body(client: httpx.Client, path: str) -> None:
    """HEAD has the status and the type of GET, and no body."""
    head, get = client.head(path), client.get(path)

    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_head_of_other_path_is_refused(client: httpx.Client) -> None:
    """A path without GET has no HEAD either, and `Allow` names HEAD if GET is served."""
    assert client.head("/v1/prediction").status_code == 405
    assert client.put("/v1/models").headers["Allow"] == "GET, HEAD, OPTIONS, QUERY"


def test_unauthorized_response_has_security_headers(klein: Klein) -> None:
    """A 401 has the same headers."""
    with klein.client("nobody") as wrong_key_client:
        headers = wrong_key_client.get("/v1/executions").headers

    assert headers["X-Content-Type-Options"] == "nosniff"


def test_image_has_type_sandbox_and_cache_headers(client: httpx.Client) -> None:
    """A file is served with its type, sandboxed, and may be cached."""
    headers = httpx.get(run(client)["output"], trust_env=False).headers

    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in headers["Cache-Control"]


def test_header_names_what_drew_image(client: httpx.Client) -> None:
    """An ended prediction has the same header in `run` and later: weights, device, torch, number format and kernels."""
    response = client.post("/v1/prediction/run", json=order(TEXT))
    numerics = response.headers["X-Klein-Numerics"]
    shown = client.get(f"/v1/prediction/{response.json()['predictionID']}")

    assert re.fullmatch(
        r"[\w-]+ [0-9a-f]{12}; cpu; torch \S+; float32; attention \w+, eager", numerics
    )
    assert shown.headers["X-Klein-Numerics"] == numerics

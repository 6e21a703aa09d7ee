"""Calls of pages of other origins (CORS)."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


@pytest.mark.parametrize(
    ("allowed", "origin"), [((), None), ((ORIGIN,), ORIGIN), (("*",), "*"), (("https://b",), None)]
)
def test_allowed_origins(redis_server, tmp_path: Path, allowed, origin) -> None:
    """A page may call the API if its origin is allowed, and then reads errors and the request id too."""
    settings = Settings(redis_url=redis_server.url, data=tmp_path, allow_origins=allowed)
    with TestClient(create_app(settings)) as client:
        preflight = client.options("/openai/v1/images/generations", headers=PREFLIGHT)
        answer = client.post("/openai/v1/images/generations", json={}, headers={"Origin": ORIGIN})

    assert preflight.headers.get("access-control-allow-origin") == origin
    assert answer.status_code == 401
    assert answer.headers.get("access-control-allow-origin") == origin
    assert "access-control-allow-credentials" not in answer.headers
    if origin:
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]

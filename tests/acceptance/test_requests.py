"""What every request has: a key, an id, and a path with or without a slash."""

import uuid
from typing import Any

import httpx
import pytest

from tests.support.api_client import create, order
from tests.support.klein_server import Klein


@pytest.mark.parametrize("slash", ["", "/"])
def test_posts_accept_trailing_slash(client: httpx.Client, slash: str) -> None:
    """Create, run and cancel answer directly, without a redirect."""
    created = client.post(f"/v1/prediction{slash}", json=order())
    completed = client.post(f"/v1/prediction/run{slash}", json=order())
    cancelled = client.post(f"/v1/prediction/{completed.json()['predictionID']}/cancel{slash}")

    assert (created.status_code, completed.status_code, cancelled.status_code) == (200, 200, 409)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "test-key-of-more-than-thirty-two-characters"},
        {"x-api-key": "test-key-of-more-than-thirty-two-characters"},
        {"X-API-KEY": "test-key-of-more-than-thirty-two-characters"},
        {"Authorization": "Bearer test-key-of-more-than-thirty-two-characters"},
        {"Authorization": "bearer test-key-of-more-than-thirty-two-characters"},
        {
            "X-API-Key": "test-key-of-more-than-thirty-two-characters",
            "Authorization": "Bearer test-key-of-more-than-thirty-two-characters",
        },
        {
            "X-API-Key": "test-key-of-more-than-thirty-two-characters",
            "Authorization": "Basic dXNlcg==",
        },
    ],
)
def test_key_in_either_header(klein: Klein, headers: dict[str, str]) -> None:
    """A key in X-API-Key of any case, in Authorization: Bearer, or in both, is accepted."""
    answer = httpx.get(f"{klein.url}/v1/executions", headers=headers, trust_env=False)

    assert answer.status_code == 200


def test_model_list_needs_no_key(klein: Klein) -> None:
    """The list of models needs no key."""
    assert httpx.get(f"{klein.url}/v1/models", trust_env=False).status_code == 200


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("POST", "/cancel")])
def test_another_keys_prediction_is_unknown(
    client: httpx.Client, other_client: httpx.Client, method: str, suffix: str
) -> None:
    """The response for another key's prediction equals that for an unknown one."""
    prediction_id = create(client)

    theirs = other_client.request(method, f"/v1/prediction/{prediction_id}{suffix}")
    unknown_response = other_client.request(method, f"/v1/prediction/{uuid.uuid4()}{suffix}")

    assert theirs.status_code == 404
    assert theirs.json()["error"] == "Prediction not found"
    assert theirs.content == unknown_response.content


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("GET", "/nowhere", None),
        ("DELETE", "/v1/models", None),
        ("POST", "/v1/prediction", {}),
        ("POST", "/v1/prediction/x/cancel", None),
    ],
)
def test_responses_have_request_id(client: httpx.Client, method: str, path: str, body: Any) -> None:
    """Every response has the caller's X-Request-Id or a new one, also on errors. It has no rate limit headers."""
    echoed = client.request(method, path, json=body, headers={"X-Request-Id": "mine-1"})
    fresh = client.request(method, path, json=body)
    odd = client.request(method, path, json=body, headers={"X-Request-Id": "no spaces" * 99})

    assert echoed.headers["X-Request-Id"] == "mine-1"
    assert uuid.UUID(fresh.headers["X-Request-Id"]) != uuid.UUID(odd.headers["X-Request-Id"])
    assert not [name for name in fresh.headers if name.startswith("x-ratelimit")]


def test_unauthorized_response_has_request_id(klein: Klein) -> None:
    """A 401 has the caller's X-Request-Id."""
    headers = {"X-Request-Id": "mine-2"}

    answer = httpx.get(f"{klein.url}/v1/executions", headers=headers, trust_env=False)

    assert answer.headers["X-Request-Id"] == "mine-2"

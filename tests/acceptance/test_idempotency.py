"""`Idempotency-Key`: a create that is repeated, at once or later, creates no second prediction."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from app.dialects.eachlabs import bodies
from tests.support.api_client import get, order
from tests.support.klein_server import Klein

EQUAL_REQUESTS = 50


def post(
    client: httpx.Client, idempotency_key: str | bytes, body: Any = None, path: str = ""
) -> Any:
    """Create or run with an idempotency key."""
    header = idempotency_key.encode() if isinstance(idempotency_key, str) else idempotency_key
    headers = {b"Idempotency-Key": header}
    return client.post(f"/v1/prediction{path}", json=body or order(), headers=headers)


def test_fifty_equal_creates_make_one_prediction(client: httpx.Client) -> None:
    """Fifty equal creates at once get one id, one prediction and one image."""
    with ThreadPoolExecutor(EQUAL_REQUESTS) as threads:
        answers = list(threads.map(lambda _: post(client, "fifty"), range(EQUAL_REQUESTS)))
    ids = {answer.json()["predictionID"] for answer in answers}

    assert {answer.status_code for answer in answers} == {200}
    assert len(ids) == 1
    prediction = get(client, ids.pop(), wait=50)
    assert prediction["status"] == "success"
    listed = client.get("/v1/executions?limit=100").json()["executions"]
    assert [line["id"] for line in listed].count(prediction["id"]) == 1


def test_repeated_run_returns_first_image(client: httpx.Client) -> None:
    """A run that is repeated, with other whitespace, returns the first one's image."""
    first = post(client, "run", path="/run").json()
    spaced = '{"input": {"image_size": {"width": 64,  "height": 64}, "prompt": "a red circle"},\n'
    spaced += '"model": "flux-2-klein-4b-text-to-image"}'
    again = client.post("/v1/prediction/run", content=spaced, headers={"Idempotency-Key": "run"})

    assert first["status"] == "success"
    assert again.json() == first


def test_idempotency_key_with_another_body_is_conflict(client: httpx.Client) -> None:
    """The same idempotency key with another body is a 409 in the contract's form that says what to do."""
    post(client, "conflict")
    for other in (
        order(prompt="a blue circle"),
        order() | {"webhook_url": "https://receiver.test/"},
    ):
        answer = post(client, "conflict", other)

        assert answer.status_code == 409
        body = bodies.ErrorBody.model_validate(answer.json())
        assert (body.status, body.error) == (409, "conflict")
        assert "Idempotency-Key" in body.details


def test_idempotency_keys_are_separate_per_api_key(
    klein: Klein, client: httpx.Client, other_client: httpx.Client
) -> None:
    """Another API key can use the same idempotency key, and gets a prediction of its own."""
    mine, theirs = (post(c, "shared").json()["predictionID"] for c in (client, other_client))

    assert mine != theirs
    assert get(other_client, mine)["status"] == 404


def test_refused_request_frees_idempotency_key(client: httpx.Client) -> None:
    """After a refused request its idempotency key can be used for the corrected one."""
    assert post(client, "mended", order(num_images=99)).status_code == 400
    assert post(client, "mended").status_code == 200

"""Every error of the contract's table, over HTTP."""

import json
from typing import Any

import httpx
import pytest

from tests.support.api_client import order, run


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and message, after a check of the whole body."""
    body = answer.json()
    assert set(body) == {"status", "error", "message", "details"}
    assert body["status"] == answer.status_code
    assert body["error"] == body["message"] != ""
    return answer.status_code, body["error"]


def test_all_invalid_fields_are_named(client: httpx.Client) -> None:
    """Two invalid fields give two details."""
    answer = client.post("/v1/prediction", json=order(num_images=9, seed="x"))

    assert {problem["field"] for problem in answer.json()["details"]} == {"num_images", "seed"}


@pytest.mark.parametrize(
    "extra",
    [
        {"webhook_url": ""},
        {"webhook_url": None, "webhook_secret": None},
        {"version": "0.0.1"},
        {"version": None},
        {"version": {"any": ["value"]}},
        {"unknown": 1},
    ],
)
def test_client_extras_are_ignored(client: httpx.Client, extra: dict[str, Any]) -> None:
    """An empty or null webhook means none. Any version and unknown keys are ignored."""
    assert client.post("/v1/prediction", json=order() | extra).status_code == 200


@pytest.mark.parametrize(
    "inputs",
    [
        {"unknown_key": {"deep": [1, 2]}},
        {"num_images": 1.0, "seed": 7.0, "num_inference_steps": 4.0},
        {"image_size": {"width": 64.0, "height": 64.0}},
        {"guidance_scale": 5},
        {"guidance_scale": 0},
        dict.fromkeys(
            (
                "negative_prompt",
                "guidance_scale",
                "num_inference_steps",
                "num_images",
                "acceleration",
                "seed",
                "output_format",
                "enable_safety_checker",
                "sync_mode",
            )
        ),
        {"seed": 2**63 - 1},
        {"seed": -(2**63)},
        {"prompt": "\N{PILE OF POO}\x00\u202e" * 100},
    ],
    ids=lambda value: repr(value)[:48],
)
def test_hosted_input_forms_are_accepted(client: httpx.Client, inputs: dict[str, Any]) -> None:
    """Unknown keys, whole numbers written as 4.0, nulls and unusual characters end with an image."""
    assert run(client, **inputs)["status"] == "success"


def test_last_duplicate_json_key_wins(client: httpx.Client) -> None:
    """For a repeated key in the JSON body the last value counts."""
    body = json.dumps(order(seed=1)).replace('"seed": 1', '"seed": 1, "seed": 2')

    created = client.post("/v1/prediction", content=body).json()

    prediction = client.get(f"/v1/prediction/{created['id']}").json()
    assert prediction["input"]["seed"] == 2


def test_cancel_after_end_is_conflict(client: httpx.Client) -> None:
    """A cancel without a body but with a JSON content type is accepted, and a 409 names the state."""
    ended = run(client)

    answer = client.post(
        f"/v1/prediction/{ended['predictionID']}/cancel",
        headers={"Content-Type": "application/json"},
    )

    assert error_of(answer) == (409, "conflict")
    assert "succeeded" in answer.json()["details"] or "success" in answer.json()["details"]


def test_body_over_limit_is_413(varied_client: httpx.Client) -> None:
    """A body longer than KLEIN_BODY_MAX_BYTES is refused, with or without Content-Length."""
    body = json.dumps(order(prompt="a" * 200_000)).encode()

    with_length = varied_client.post("/v1/prediction", content=body)
    without_length = varied_client.post(
        "/v1/prediction", content=iter([body[:90_000], body[90_000:]])
    )

    assert error_of(with_length) == error_of(without_length) == (413, "request body too large")


def test_strict_inputs_refuse_unknown_fields(varied_client: httpx.Client) -> None:
    """With KLEIN_STRICT_INPUTS an unknown key is a 400 that names it."""
    base = "flux-2-klein-4b-base-text-to-image"

    answer = varied_client.post("/v1/prediction", json=order(base, shiny=1))

    assert error_of(answer) == (400, "Invalid input for model")
    assert [problem["field"] for problem in answer.json()["details"]] == ["shiny"]

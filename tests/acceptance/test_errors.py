"""Every error of the contract's table, over HTTP."""

import json
from typing import Any

import httpx
import pytest

from tests.acceptance.asking import EDIT, TEXT, create, order, run


def told(answer: httpx.Response) -> tuple[int, str]:
    """Give code and words, after a look at the whole body."""
    body = answer.json()
    assert set(body) == {"status", "error", "message", "details"}
    assert body["status"] == answer.status_code
    assert body["error"] == body["message"] != ""
    return answer.status_code, body["error"]


@pytest.mark.parametrize("path", ["/v1/prediction", "/v1/prediction/run"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "model field is required")),
        ({"input": {}}, (400, "model field is required")),
        ({"model": "", "input": {}}, (400, "model field is required")),
        ({"model": None, "input": {}}, (400, "model field is required")),
        ({"model": 5, "input": {}}, (400, "Invalid input for model")),
        ({"model": TEXT}, (400, "Invalid input for model")),
        ({"model": TEXT, "input": []}, (400, "Invalid input for model")),
        ({"model": "nothing", "input": {}}, (404, "Failed to fetch model: model not found")),
        ([], (422, "invalid request body")),
        ("text", (422, "invalid request body")),
    ],
)
def test_a_body_that_does_not_fit(
    client: httpx.Client, path: str, body: Any, expected: tuple[int, str]
) -> None:
    """Create and run name what is missing."""
    assert expected == told(client.post(path, json=body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"model": NaN}',
        b'{"model": "m", "input": {"seed": Infinity}}',
        b'{"model": "m", "input": {"prompt": "\\ud800"}}',
        b'{"model": "m", "input": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_a_422(client: httpx.Client, body: bytes) -> None:
    """Broken JSON of every kind is refused as such, and never a 500."""
    headers = {"Content-Type": "application/json"}

    assert told(client.post("/v1/prediction", content=body, headers=headers)) == (
        422,
        "invalid request body",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", ""),
        ("prompt", "  "),
        ("prompt", 5),
        ("prompt", ["a"]),
        ("prompt", "a" * 10_001),
        ("prompt", "a" * 10_000_000),
        ("negative_prompt", 1),
        ("guidance_scale", 21),
        ("guidance_scale", "5"),
        ("num_inference_steps", 0),
        ("num_inference_steps", 51),
        ("num_inference_steps", True),
        ("num_inference_steps", 4.5),
        ("num_inference_steps", "4"),
        ("num_images", 0),
        ("num_images", 5),
        ("num_images", True),
        ("image_size", "huge"),
        ("image_size", 512),
        ("image_size", {"width": 64}),
        ("image_size", {"width": 65, "height": 64}),
        ("image_size", {"width": 48, "height": 64}),
        ("image_size", {"width": 4096, "height": 2048}),
        ("image_size", {"width": 1024, "height": 64}),
        ("image_size", {"width": True, "height": 64}),
        ("image_size", {"width": 1e300, "height": 64}),
        ("acceleration", "warp"),
        ("seed", "7"),
        ("seed", True),
        ("seed", 0.5),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 10**400),
        ("output_format", "gif"),
        ("output_quality", 101),
        ("enable_safety_checker", "yes"),
        ("sync_mode", 1),
    ],
    ids=lambda value: repr(value)[:32],
)
def test_a_field_that_does_not_fit_is_named(client: httpx.Client, field: str, value: Any) -> None:
    """A known field of the wrong type or out of range is a 400 whose details name it alone."""
    answer = client.post("/v1/prediction", json=order(**{field: value}))

    assert told(answer) == (400, "Invalid input for model")
    assert [problem["field"] for problem in answer.json()["details"]] == [field]


def test_every_wrong_field_is_named_at_once(client: httpx.Client) -> None:
    """Two wrong fields are two details."""
    answer = client.post("/v1/prediction", json=order(num_images=9, seed="x"))

    assert {problem["field"] for problem in answer.json()["details"]} == {"num_images", "seed"}


def test_a_missing_field_is_named(client: httpx.Client) -> None:
    """An input without a prompt is a 400 that names prompt; an edit's also names image_urls."""
    text = client.post("/v1/prediction", json={"model": TEXT, "input": {}}).json()
    edit = client.post("/v1/prediction", json={"model": EDIT, "input": {}}).json()

    assert [problem["field"] for problem in text["details"]] == ["prompt"]
    assert {problem["field"] for problem in edit["details"]} == {"prompt", "image_urls"}


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
def test_what_clients_send_along_is_ignored(client: httpx.Client, extra: dict[str, Any]) -> None:
    """An empty or null webhook means none; any version and unknown keys are ignored."""
    assert client.post("/v1/prediction", json=order() | extra).status_code == 200


def test_a_webhook_that_cannot_be_called(client: httpx.Client) -> None:
    """A webhook_url that is no http(s) URL is refused by name."""
    answer = client.post("/v1/prediction", json=order() | {"webhook_url": "ftp://h/x"})

    assert told(answer) == (400, "Invalid input for model")
    assert answer.json()["details"][0]["field"] == "webhook_url"


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
def test_what_hosted_takes_is_taken(client: httpx.Client, inputs: dict[str, Any]) -> None:
    """Unknown keys, whole numbers written 4.0, nulls and odd characters end in a picture."""
    assert run(client, **inputs)["status"] == "success"


def test_the_last_of_two_equal_keys_counts(client: httpx.Client) -> None:
    """A body that says seed twice is read as JSON readers do: the last one counts."""
    body = json.dumps(order(seed=1)).replace('"seed": 1', '"seed": 1, "seed": 2')

    created = client.post("/v1/prediction", content=body).json()

    shown = client.get(f"/v1/prediction/{created['id']}").json()
    assert shown["input"]["seed"] == 2


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/prediction/unknown", (404, "Prediction not found")),
        ("GET", "/v1/prediction/%00%ff", (404, "Prediction not found")),
        ("POST", "/v1/prediction/unknown/cancel", (404, "Prediction not found")),
        ("GET", "/v1/model", (400, "slug parameter is required")),
        ("GET", "/v1/model?slug=", (400, "slug parameter is required")),
        ("GET", "/v1/model?slug=x", (404, "Failed to fetch model: model not found")),
        ("GET", "/v1/models/x", (404, "Failed to fetch model: model not found")),
        ("GET", "/v1/models/x/schemas/openapi", (404, "Failed to fetch model: model not found")),
        ("GET", "/v1/models?limit=0", (400, "invalid limit parameter")),
        ("GET", "/v1/models?limit=501", (400, "invalid limit parameter")),
        ("GET", "/v1/models?limit=x", (400, "invalid limit parameter")),
        ("GET", "/v1/models?offset=-1", (400, "invalid offset parameter")),
        ("GET", "/v1/executions?limit=101", (400, "invalid limit parameter")),
        ("GET", "/v1/executions?status=done", (400, "invalid status parameter")),
        ("GET", "/v1/executions?from=yesterday", (400, "invalid from parameter")),
        ("GET", "/files/nothing.png", (404, "file not found")),
        ("GET", "/nowhere", (404, "not found")),
        ("PUT", "/v1/prediction", (405, "method not allowed")),
        ("DELETE", "/v1/models", (405, "method not allowed")),
    ],
)
def test_what_is_not_there(
    client: httpx.Client, method: str, path: str, expected: tuple[int, str]
) -> None:
    """Unknown ids, slugs, paths and methods and bad parameters answer in the hosted words."""
    assert expected == told(client.request(method, path))


@pytest.mark.parametrize("wait", ["-1", "60.1", "x", "nan", "inf"])
def test_a_wait_out_of_range_is_a_400(client: httpx.Client, wait: str) -> None:
    """?wait takes 0 to 60 seconds."""
    answer = client.get(f"/v1/prediction/{create(client)}?wait={wait}")

    assert told(answer) == (400, "invalid wait parameter")


def test_cancel_after_the_end_is_a_conflict(client: httpx.Client) -> None:
    """A body-less cancel with a JSON content type is read, and a 409 names the state."""
    ended = run(client)

    answer = client.post(
        f"/v1/prediction/{ended['predictionID']}/cancel",
        headers={"Content-Type": "application/json"},
    )

    assert told(answer) == (409, "conflict")
    assert "succeeded" in answer.json()["details"] or "success" in answer.json()["details"]


def test_a_body_over_the_limit_is_a_413(varied_client: httpx.Client) -> None:
    """A body longer than KLEIN_BODY_MAX_BYTES is refused, told in advance or not."""
    body = json.dumps(order(prompt="a" * 200_000)).encode()

    told_length = varied_client.post("/v1/prediction", content=body)
    untold = varied_client.post("/v1/prediction", content=iter([body[:90_000], body[90_000:]]))

    assert told(told_length) == told(untold) == (413, "request body too large")


def test_strict_inputs_refuse_unknown_keys(varied_client: httpx.Client) -> None:
    """Under KLEIN_STRICT_INPUTS an unknown key is a 400 that names it."""
    base = "flux-2-klein-4b-base-text-to-image"

    answer = varied_client.post("/v1/prediction", json=order(base, shiny=1))

    assert told(answer) == (400, "Invalid input for model")
    assert [problem["field"] for problem in answer.json()["details"]] == ["shiny"]

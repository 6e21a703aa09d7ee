"""Our responses against the hosted service's own schemas. Each difference is intended and named."""

from typing import Any

import httpx
import pytest

from tests.examples.eachlabs.schemas import differences, example
from tests.support.api_client import EDIT, LONG, TEXT, create, data_uri, get, image_file, order, run

BASE = "flux-2-klein-4b-base-text-to-image"
DEVIATIONS = {
    "CreatePredictionRequest.webhook_url": "many clients send an empty string: it means none",
    "Prediction.status": "production says created and error, not starting and failed",
    "Prediction.output": "production says null until the end, which the document leaves out",
    "CancelPredictionResponse.status": "captured bodies say success, the document cancelled",
}
DOCUMENTED = {"Prediction.output"}
"""The deviations that remain under KLEIN_STATUS_WORDS=documented."""


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("CreatePredictionRequest", "create.request"),
        ("CreatePredictionResponse", "create.answer"),
        ("Prediction", "get.queued.answer"),
        ("Prediction", "get.ended.answer"),
        ("RunPredictionResponse", "run.answer"),
        ("CancelPredictionResponse", "cancel.answer"),
        ("ListExecutionsResponse", "executions.answer"),
        ("Error", "error.answer"),
    ],
)
def test_examples_follow_hosted_schemas(schema: str, name: str) -> None:
    """Each example body follows its hosted schema except for the named deviations."""
    assert differences(schema, example(name)) <= set(DEVIATIONS)


def test_responses_have_all_fields_of_examples(client: httpx.Client) -> None:
    """Our responses have every field of the examples."""
    ended = run(client)
    prediction = get(client, ended["predictionID"])
    executions = client.get("/v1/executions").json()

    assert set(example("run.answer")) == set(ended)
    assert set(example("get.ended.answer")) == set(prediction) - {"predictionID"}
    assert set(example("executions.answer")) == set(executions)
    assert set(example("executions.answer")["executions"][0]) == set(executions["executions"][0])


def test_example_request_is_accepted(client: httpx.Client) -> None:
    """The example of a create is accepted, and answered as its example says."""
    answer = client.post("/v1/prediction", json=example("create.request"))

    expected = example("create.answer")
    body = answer.json()
    assert {name: body[name] for name in ("status", "message")} == {
        name: expected[name] for name in ("status", "message")
    }
    assert get(client, body["predictionID"], wait=30)["status"] == "success"


def lived(client: httpx.Client, model: str) -> dict[str, list[Any]]:
    """Collect one response of every kind, by the hosted schema that it must follow."""
    busy = create(client, model, **LONG)
    queued = client.post("/v1/prediction", json=order(model)).json()
    waiting = get(client, queued["predictionID"])
    cancels = [client.post(f"/v1/prediction/{p}/cancel") for p in (queued["predictionID"], busy)]
    ended = run(client, model, num_inference_steps=2)
    several = run(client, model, num_inference_steps=2, num_images=2)
    errors = [
        client.post("/v1/prediction", json={}),
        client.post("/v1/prediction", content=b"{"),
        client.post("/v1/prediction", json=order(model, prompt=5)),
        client.post("/v1/prediction", json=order("x")),
        client.get("/v1/prediction/x"),
        client.post(f"/v1/prediction/{ended['predictionID']}/cancel"),
        client.get("/v1/model"),
        client.get("/v1/models?limit=0"),
        client.get("/v1/executions", headers={"X-API-Key": "x"}),
    ]
    return {
        "CreatePredictionResponse": [queued],
        "Prediction": [
            waiting,
            get(client, queued["predictionID"]),
            get(client, ended["predictionID"]),
            get(client, several["predictionID"]),
        ],
        "RunPredictionResponse": [ended, several],
        "CancelPredictionResponse": [cancel.json() for cancel in cancels],
        "Models": [client.get("/v1/models").json()],
        "ModelDetail": [
            client.get(f"/v1/models/{model}").json(),
            client.get("/v1/model", params={"slug": model}).json(),
        ],
        "ListExecutionsResponse": [client.get("/v1/executions").json()],
        "Error": [error.json() for error in errors],
    }


def test_responses_follow_hosted_schemas(client: httpx.Client) -> None:
    """Real responses have exactly the named deviations from the hosted schemas."""
    answers = lived(client, TEXT)

    deviations = set().union(
        *(differences(name, b) for name, bodies in answers.items() for b in bodies)
    )
    assert deviations == set(DEVIATIONS) - {"CreatePredictionRequest.webhook_url"}


def test_documented_status_words(varied_client: httpx.Client) -> None:
    """With KLEIN_STATUS_WORDS=documented only the null output before the end deviates."""
    answers = lived(varied_client, BASE)

    deviations = set().union(
        *(differences(name, b) for name, bodies in answers.items() for b in bodies)
    )
    assert deviations == DOCUMENTED
    assert answers["Prediction"][0]["status"] == "starting"
    assert {cancel["status"] for cancel in answers["CancelPredictionResponse"]} == {"cancelled"}


def test_edit_responses_follow_hosted_schemas(client: httpx.Client) -> None:
    """The responses of an edit follow the hosted schemas without a difference."""
    ended = run(client, EDIT, image_urls=[data_uri(image_file())])

    assert differences("RunPredictionResponse", ended) == set()
    assert differences("Prediction", get(client, ended["predictionID"])) == set()

"""Tests of the hosted API's bodies: how predictions are shown, and how requests are read."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from app.api.errors import BadRequest
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.output import classification_of
from app.dialects.eachlabs.wire import (
    DOCUMENTED,
    LIVE,
    View,
    model_body,
    model_openapi,
    parse_create,
    parse_statuses,
)
from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output, Status
from tests.support.fakes import NOW, a_prediction

ENDED = NOW + timedelta(seconds=1.5)
OUTPUTS = tuple(Output(key=f"p/a/{k}.png", width=1024, height=768) for k in range(2))
VIEW = View(
    base="https://klein.test",
    status_names=LIVE,
    retention=timedelta(days=1),
    link=lambda key, expires: f"https://klein.test/files/{key}?expires={expires:%d%H%M%S}",
)
DOCUMENTED_VIEW = replace(VIEW, status_names=DOCUMENTED)
FIRST_URL = "https://klein.test/files/p/a/0.png?expires=03030406"

queued = a_prediction(input={"prompt": "a house", "seed": 7})
running = queued.claim("a", NOW)
one = running.succeed("a", OUTPUTS[:1], (), ENDED)
two = running.succeed("a", OUTPUTS, ("the prompt was cut", "twice"), ENDED)
failed = running.fail("a", Failure(cause=Cause.ENGINE, message="no image"), ENDED)
cancelled = running.cancel(ENDED)


def show(prediction, view=VIEW):
    body = view.prediction(prediction, lambda output: view.url(prediction, output))
    bodies.PredictionBody.model_validate(body)
    return body


def run(prediction):
    body = VIEW.run(prediction, lambda output: VIEW.url(prediction, output))
    bodies.RunBody.model_validate(body)
    return body


def test_queued_prediction():
    """A queued prediction has the contract's body, with both names of the id."""
    assert show(queued) == {
        "id": "p",
        "predictionID": "p",
        "input": {"prompt": "a house", "seed": 7},
        "logs": None,
        "status": "created",
        "output": None,
        "metrics": {"predict_time": 0, "cost": 0},
        "urls": {
            "cancel": "https://klein.test/v1/prediction/p/cancel",
            "get": "https://klein.test/v1/prediction/p",
        },
    }


def test_running_prediction():
    """A running prediction differs from a queued one only in its status."""
    assert show(running) == show(queued) | {"status": "processing"}


def test_success_with_one_image():
    """One image is shown as a URL string, with the run time and the price."""
    assert show(one) == show(queued) | {
        "status": "success",
        "output": FIRST_URL,
        "metrics": {"predict_time": 1.5, "cost": 0.000786},
    }


def test_success_with_several_images():
    """Two images are shown as a list of URLs, and the notes as logs."""
    assert show(two) == show(queued) | {
        "status": "success",
        "output": [FIRST_URL, FIRST_URL.replace("/0.png", "/1.png")],
        "logs": "the prompt was cut\ntwice",
        "metrics": {"predict_time": 1.5, "cost": 0.001573},
    }


def test_failure():
    """A failure has the hosted API's error object and a top-level error, without time and price."""
    assert show(failed) == show(queued) | {
        "status": "error",
        "error": "no image",
        "output": {
            "error": "Execution failed",
            "error_code": "PROVIDER_FAILED",
            "error_message": "no image",
            "error_step": "generate",
            "classification": {"category": "PROVIDER"},
            "execution_id": "p",
            "model_slug": "flux-2-klein-4b-text-to-image",
            "provider": "klein",
            "retryable": True,
            "status": "ERROR",
            "success": False,
        },
    }


@pytest.mark.parametrize(
    ("cause", "code", "category", "retryable"),
    [
        (Cause.INPUT, "INPUT_VALIDATION_ERROR", "VALIDATION", False),
        (Cause.INPUT_UNREACHABLE, "INPUT_DOWNLOAD_ERROR", "VALIDATION", False),
        (Cause.ENGINE, "PROVIDER_FAILED", "PROVIDER", True),
        (Cause.OUT_OF_MEMORY, "PROVIDER_SERVER_ERROR", "PROVIDER", True),
        (Cause.TIMEOUT, "EXECUTION_TIMEOUT", "TIMEOUT", True),
        (Cause.QUEUE_TIMEOUT, "EXECUTION_TIMEOUT", "TIMEOUT", True),
        (Cause.WITHHELD, "PROVIDER_REJECTED", "PROVIDER", False),
        (Cause.STORAGE, "PROVIDER_SERVER_ERROR", "INTERNAL", True),
        (Cause.WORKER_LOST, "PROVIDER_SERVER_ERROR", "PROVIDER", True),
    ],
)
def test_every_cause_has_error_terms(cause, code, category, retryable):
    """Each cause has an error code, a category of the schema and a retryable flag."""
    prediction = running.fail("a", Failure(cause=cause, message="why"), ENDED)
    envelope = show(prediction)["output"]

    assert envelope["error_code"] == code
    assert envelope["classification"] == {"category": category}
    assert envelope["retryable"] is retryable
    assert classification_of(prediction)
    assert classification_of(queued) == ""


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_rendered(cause):
    """Each cause has an error code, a step and a classification."""
    envelope = show(running.fail("a", Failure(cause=cause, message="why"), ENDED))["output"]

    assert all((envelope["error_code"], envelope["error_step"], envelope["classification"]))


def test_cancelled_prediction():
    """A cancelled prediction has its status, and no output, error, time or price."""
    assert show(cancelled) == show(queued) | {"status": "cancelled"}


@pytest.mark.parametrize(
    ("prediction", "word"),
    [
        (queued, "starting"),
        (running, "processing"),
        (one, "success"),
        (failed, "failed"),
        (cancelled, "cancelled"),
    ],
)
def test_documented_status_words(prediction, word):
    """With the documented status words, a body differs only in its status."""
    assert show(prediction, DOCUMENTED_VIEW) == show(prediction) | {"status": word}
    assert DOCUMENTED_VIEW.execution(prediction)["status"] == word


@pytest.mark.parametrize("status", Status)
def test_every_status_has_words(status):
    """Both vocabularies have a distinct word for each state."""
    assert status in LIVE
    assert len(set(LIVE.values())) == len(set(DOCUMENTED.values())) == len(Status)


def test_create_and_cancel_responses():
    """Both responses have the id twice, and a cancel has the status `success` or, in the documented words, `cancelled`."""
    ids = {"predictionID": "p", "id": "p"}

    assert VIEW.accepted(queued) == ids | {
        "status": "success",
        "message": "Prediction created successfully",
    }
    cancel = ids | {"status": "success", "message": "Prediction canceled successfully"}
    assert VIEW.cancelled(cancelled) == cancel
    assert DOCUMENTED_VIEW.cancelled(cancelled) == cancel | {"status": "cancelled"}


def test_run_responses():
    """A run has its own status words, the output that GET shows, and the reason of a failure."""
    assert run(one) == {
        "status": "success",
        "message": "Prediction completed successfully",
        "predictionID": "p",
        "output": FIRST_URL,
        "error": "",
    }
    assert (run(failed)["status"], run(failed)["error"]) == ("failed", "no image")
    assert run(failed)["output"] == show(failed)["output"]
    assert (run(cancelled)["status"], run(cancelled)["output"]) == ("cancelled", None)


def test_stored_input_images_are_links():
    """A data URI that was stored is shown as a link, and a URL as it was sent."""
    keys = ("p/in-0.png", "p/in-1.png")
    sent = ["p/in-0.png", "https://elsewhere.test/x.png"]
    prediction = replace(queued, reference_keys=keys, input={"prompt": "x", "image_urls": sent})

    assert show(prediction)["input"]["image_urls"] == [
        "https://klein.test/files/p/in-0.png?expires=03030405",
        "https://elsewhere.test/x.png",
    ]
    assert prediction.input["image_urls"] == sent


def test_history_entry():
    """An execution in the history has its cost, UTC times with a Z, and the URL of the first image."""
    body = VIEW.execution(two)
    bodies.Execution.model_validate_json(json.dumps(body))

    assert body == {
        "id": "p",
        "model": "flux-2-klein-4b-text-to-image",
        "requested_model": None,
        "status": "success",
        "workflow_id": None,
        "workflow_execution_id": None,
        "execution_cost": 0.001573,
        "run_time": 1.5,
        "created_at": "2026-01-02T03:04:05Z",
        "started_at": "2026-01-02T03:04:05Z",
        "completed_at": "2026-01-02T03:04:06.500000Z",
        "output": FIRST_URL,
    }


def test_history_entry_before_end():
    """Before the end, times and output are null, and run time and cost are 0."""
    body = VIEW.execution(queued)

    assert [body[name] for name in ("started_at", "completed_at", "output")] == [None] * 3
    assert (body["run_time"], body["execution_cost"]) == (0, 0)


def test_create_is_parsed():
    """Model and input are read, and unknown and legacy fields are ignored."""
    read = parse_create(
        {
            "model": "m",
            "input": {"prompt": "x", "seed": 12345678901234567890123},
            "version": [1],
            "webhook_url": "",
            "more": 1,
        }
    )

    assert (read.model, read.input["prompt"]) == ("m", "x")
    assert read.input["seed"] == 12345678901234567890123


@pytest.mark.parametrize("url", ["", None])
def test_empty_webhook_is_none(url):
    """An empty string and null mean that there is no webhook."""
    assert not parse_create({"model": "m", "input": {}, "webhook_url": url}).webhook_url


@pytest.mark.parametrize(
    "body", [{}, {"model": ""}, {"model": None, "input": {}}, {"input": {"prompt": "x"}}]
)
def test_model_is_required(body):
    """A missing model gives the hosted API's error."""
    with pytest.raises(BadRequest) as refused:
        parse_create(body)

    assert refused.value.error == "model field is required"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": None}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": 5, "input": {}}, "model"),
        ({"model": "m", "input": {}, "webhook_url": 5}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "ftp://x.test"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "https://"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "https://a:b@x.test"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "https://x.test:99999"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "x.test"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "https://[x"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_url": "https://x.test/a b"}, "webhook_url"),
        ({"model": "m", "input": {}, "webhook_secret": "a\nb"}, "webhook_secret"),
        ({"model": "m", "input": {}, "webhook_secret": 5}, "webhook_secret"),
    ],
)
def test_invalid_fields_are_named(body, field):
    """A field of a wrong type and a webhook URL that cannot be called are refused by name."""
    with pytest.raises(InvalidInput) as refused:
        parse_create(body)

    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("", set(Status)),
        (" , ", set(Status)),
        ("created", {Status.QUEUED}),
        ("starting", {Status.QUEUED}),
        ("success, error", {Status.SUCCEEDED, Status.FAILED}),
    ],
)
def test_status_filter(text, statuses):
    """A comma-separated list names states in the hosted words, and an empty one means all."""
    assert parse_statuses(text) == statuses


@pytest.mark.parametrize("text", ["succeeded", "success,x", "SUCCESS", "processing"])
def test_unknown_status_is_refused(text):
    """A word that the contract does not list is refused with the list of the valid words."""
    with pytest.raises(BadRequest, match="created, starting, success, error"):
        parse_statuses(text)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
def test_model_body(model):
    """A model has the documented body, and its own OpenAPI document has the same input schema."""
    body = model_body(model, "built-in")
    bodies.ModelBody.model_validate(body)
    document = model_openapi(model, "https://klein.test")
    create = document["paths"]["/v1/prediction"]["post"]
    sent = create["requestBody"]["content"]["application/json"]["schema"]

    assert (body["slug"], body["weights"]) == (model.slug, "built-in")
    assert sent["properties"]["input"] == body["request_schema"]
    assert sent["properties"]["model"]["enum"] == [model.slug]
    assert document["servers"] == [{"url": "https://klein.test"}]

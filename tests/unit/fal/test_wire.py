"""Tests of fal's dialect: applications, URLs, states and outputs."""

import json
from datetime import timedelta

import pytest

from app.dialects.fal import wire
from app.dialects.image_links import ImageLinks
from app.dialects.registry import webhook_body
from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output
from tests.support.fakes import NOW, a_prediction

ENDED = NOW + timedelta(seconds=1.5)
LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/files/{key}",
)
OUTPUT = Output(key="p/a/0.png", width=64, height=32)


@pytest.mark.parametrize(
    ("app_id", "slug"),
    [
        ("fal-ai/flux-2/klein/4b", "flux-2-klein-4b-text-to-image"),
        ("fal-ai/flux-2-klein/4b", "flux-2-klein-4b-text-to-image"),
        ("fal-ai/flux-2/klein/4b/edit", "flux-2-klein-4b-edit"),
        ("fal-ai/flux-2/klein/4b/base", "flux-2-klein-4b-base-text-to-image"),
        ("fal-ai/flux-2/klein/9b/base/edit/lora", "flux-2-klein-9b-base-edit"),
        ("fal-ai/flux-2/klein/4b/distilled/edit", "flux-2-klein-4b-edit"),
    ],
)
def test_applications(app_id, slug):
    """An application of fal is a model of klein."""
    assert wire.find_slug(app_id) == slug


@pytest.mark.parametrize(
    "app_id", ["fal-ai/flux/dev", "fal-ai/flux-2", "fal-ai/flux-2/klein/2b", ""]
)
def test_unknown_applications(app_id):
    """Another application is unknown."""
    with pytest.raises(UnknownModel):
        wire.find_slug(app_id)


def test_targets():
    """A URL of fal has a path here, and any other URL is refused."""
    url = "https://queue.fal.run/fal-ai/flux-2/requests/x/status?logs=1"
    assert wire.find_target(url) == ("/fal/queue/fal-ai/flux-2/requests/x/status", "logs=1")
    for other in ("https://fal.run.example.com/a", "https://example.com/", ""):
        with pytest.raises(InvalidInput, match="x-fal-target-url: send a URL of"):
            wire.find_target(other)


def test_states_and_output():
    """A prediction is in the queue, in progress and completed, with its URLs, logs and images."""
    webhook = wire.read_webhook("https://host/told", "https://klein.test")
    queued = a_prediction(input={"prompt": "x", "seed": 7}, webhook=webhook, notes=("resized",))
    running = queued.claim("a", NOW).advance("a", 1, 4)
    ended = running.succeed("a", (OUTPUT,), (), ENDED)
    states = [wire.status_body(p, "fal-ai/flux-2", LINKS, has_logs=True) for p in (queued, running, ended)]  # fmt: skip

    assert [s["status"] for s in states] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert states[0]["response_url"] == "https://klein.test/fal/queue/fal-ai/flux-2/requests/p"
    assert [log["message"] for log in states[1]["logs"]] == ["resized", "step 1 of 4"]
    assert states[2]["metrics"] == {"inference_time": 1.5}

    def show(output: Output) -> str:
        return LINKS.url(ended, output)

    body = wire.output_body(ended, show)
    assert body["images"] == [
        {"url": "https://klein.test/files/p/a/0.png", "width": 64, "height": 32, "content_type": "image/png"}
    ]  # fmt: skip
    assert (body["seed"], body["has_nsfw_concepts"]) == (7, [False])
    assert body["klein_notes"] == ["resized"]
    sent = json.loads(webhook_body(ended, LINKS, show))
    assert (sent["status"], sent["payload"], sent["request_id"]) == ("OK", body, "p")
    failure = Failure(cause=Cause.ENGINE, message="why")
    failed = json.loads(webhook_body(running.fail("a", failure, ENDED), LINKS, show))
    assert (failed["status"], failed["payload"], failed["error"]) == ("ERROR", None, "why")


@pytest.mark.parametrize(
    "size", [{"width": 0}, {"width": 14143}, {"height": "64"}, {"width": 64.5}, {"height": True}]
)
def test_sides_are_refused_by_their_limits(size):
    """Sides that cannot be rounded to a size are refused by the limits of fal, not by those of the model."""
    with pytest.raises(InvalidInput, match="image_size: width and height must be whole numbers"):
        wire.read_input({"prompt": "x", "image_size": size})

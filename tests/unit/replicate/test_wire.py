"""Tests of the Replicate dialect: how predictions are shown, and how requests are read."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from app.dialects.image_links import ImageLinks
from app.dialects.model_names import model_slug
from app.dialects.registry import webhook_body
from app.dialects.replicate import wire
from app.dialects.replicate.input import Megapixels, Ratio, read_input, show_input
from app.dialects.replicate.routes import render_error
from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput, Unavailable, UnknownModel, UnknownPrediction
from app.predictions.prediction import Cause, Failure, Output
from tests.support.fakes import NOW, a_prediction

EXAMPLES = Path(__file__).parents[2] / "examples" / "replicate"
ENDED = NOW + timedelta(seconds=1.5)
LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/files/{key}",
)
OUTPUT = Output(key="p/a/0.png", width=672, height=384)


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def show(prediction):
    return wire.prediction_body(prediction, LINKS, lambda output: LINKS.url(prediction, output))


def test_a_create_and_its_prediction_are_as_in_the_examples():
    """The example request becomes a prediction that is shown as the example response, also in its webhook."""
    body = wire.parse_create(example("create.request.json"))
    slug, input_values = read_input("flux-2-klein-4b", body.input)
    queued = a_prediction(
        model=slug, input=input_values, webhook=wire.read_webhook(body, "https://host", "whsec_")
    )
    running = queued.claim("a", NOW).advance("a", 4, 4)
    ended = running.succeed("a", (OUTPUT,), (), ENDED)

    assert show(ended) == example("prediction.answer.json")
    assert json.loads(webhook_body(ended, LINKS, lambda o: LINKS.url(ended, o))) == show(ended)


@pytest.mark.parametrize("megapixels", get_args(Megapixels))
@pytest.mark.parametrize("ratio", get_args(Ratio))
def test_every_size_fits_the_model(ratio, megapixels):
    """Each ratio and number of megapixels gives a size that the catalog accepts, close to both, and is shown again as sent."""
    slug, input_values = read_input(
        "flux-2-klein-4b",
        {"prompt": "x", "aspect_ratio": ratio, "output_megapixels": megapixels},
    )
    width, height = MODELS[slug].parse(input_values).size or (0, 0)

    across, down = (1, 1) if ratio == "match_input_image" else map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.06)
    assert width * height == pytest.approx(float(megapixels) * 2**20, rel=0.11)
    back = show_input(input_values, MODELS[slug].default_size)
    assert (back["aspect_ratio"], back["output_megapixels"]) == (
        ratio.replace("match_input_image", "1:1"),
        megapixels,
    )


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({}, {"aspect_ratio": "custom", "width": 1024, "height": 768}),
        ({"image_size": "square_hd"}, {"aspect_ratio": "1:1", "output_megapixels": "1"}),
        (
            {"image_size": {"width": 80, "height": 64}},
            {"aspect_ratio": "custom", "width": 80, "height": 64},
        ),
        ({"image_urls": ["https://a"]}, {"aspect_ratio": "match_input_image"}),
    ],
)
def test_sizes_of_others(stored, shown):
    """A size from another dialect is shown by its ratio, or else in pixels."""
    model = MODELS[model_slug("flux-2-klein-4b", is_edit="image_urls" in stored)]
    body = show_input({"prompt": "x", "seed": 1} | stored, model.default_size)

    assert {k: body.get(k) for k in shown} == shown


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (wire.VERSION, "flux-2-klein-4b"),
        ("black-forest-labs/flux-2-klein-4b", "flux-2-klein-4b"),
        (f"black-forest-labs/flux-2-klein-4b:{wire.VERSION}", "flux-2-klein-4b"),
        ("black-forest-labs/flux-2-klein-4b-base", "flux-2-klein-4b-base"),
    ],
)
def test_versions(version, name):
    """A version is accepted in each of its forms."""
    assert wire.model_of(version) == name


@pytest.mark.parametrize(
    "version", [None, "", "x", f"flux-2-klein-4b:{wire.VERSION}", "a/b", "a/b:c", f":{'0' * 64}"]
)
def test_unknown_versions(version):
    """An unknown version is refused with the name of the field."""
    with pytest.raises(InvalidInput, match="version"):
        wire.model_of(version)


def test_the_base_model_takes_a_guidance():
    """Guidance reaches the base model and is ignored for the distilled one, and an unknown model is refused."""
    _, base = read_input("flux-2-klein-4b-base", {"prompt": "x", "guidance": 2})
    _, distilled = read_input("flux-2-klein-4b", {"prompt": "x", "guidance": 2})

    assert base["guidance_scale"] == 2
    assert "guidance_scale" not in distilled
    with pytest.raises(UnknownModel):
        wire.check_model("black-forest-labs", "flux-2-max")


def test_a_failure():
    """A failed prediction has its error and no output."""
    queued = a_prediction()
    body = show(
        queued.claim("a", NOW).fail("a", Failure(cause=Cause.ENGINE, message="no picture"), ENDED)
    )

    assert (body["status"], body["error"], body["output"]) == ("failed", "no picture", None)


@pytest.mark.parametrize(
    ("events", "is_sent"),
    [(None, True), (["completed", "start"], True), (["start", "logs"], False), ([], False)],
)
def test_who_wants_to_be_told(events, is_sent):
    """A webhook is sent only at the end, which includes a cancel, unless the event filter leaves out `completed`."""
    body = wire.CreateBody(input={}, webhook="https://host/told", webhook_events_filter=events)
    webhook = wire.read_webhook(body, "https://klein.test", "whsec_")

    assert (webhook is not None) is is_sent
    assert a_prediction(webhook=webhook).cancel(ENDED).needs_webhook is is_sent


@pytest.mark.parametrize("webhook", ["ftp://a", "nonsense", "https://me:secret@host"])
def test_wrong_webhooks(webhook):
    """A webhook URL that cannot be called is refused by name."""
    with pytest.raises(InvalidInput, match="webhook: send an http"):
        wire.parse_create({"input": {}, "webhook": webhook})


@pytest.mark.parametrize(
    ("exc", "status", "title"),
    [
        (Unavailable("x"), 503, "service unavailable"),
        (UnknownPrediction("x"), 404, "Prediction not found"),
        (RuntimeError("secret"), 500, "Internal server error"),
    ],
)
def test_errors(exc, status, title):
    """Errors have title, detail and status, and an unexpected error reveals no details."""
    rendered = render_error(exc)

    assert (rendered.status, rendered.body["status"], rendered.body["title"]) == (
        status,
        status,
        title,
    )
    assert "secret" not in str(rendered.body)


@pytest.mark.parametrize(
    ("line", "is_theirs"),
    [
        ("GET /v1/predictions", True),
        ("GET /v1/predictions/p/cancel", True),
        ("GET /v1/models/a/b/predictions", True),
        ("GET /v1/models/a/b", True),
        ("POST /v1/files", True),
        ("GET /v1/files/f", True),
        ("DELETE /v1/files/f", False),
        ("GET /v1/webhooks/default/secret", True),
        ("GET /v1/webhooks/w", False),
        ("GET /v1/prediction", False),
        ("GET /v1/predictionsx", False),
        ("GET /v1/models/a", False),
        ("GET /v1/models/a/schemas/openapi", False),
    ],
)
def test_whose_request(line, is_theirs):
    """Only the requests of Replicate's routes match its pattern."""
    assert bool(wire.REQUESTS.match(line)) is is_theirs

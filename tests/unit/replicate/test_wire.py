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
from app.dialects.replicate.http import render_error
from app.dialects.replicate.input import Megapixels, Ratio, read_input, show_input
from app.dialects.replicate.models import VERSION, check_model, model_of
from app.predictions.catalog import MODELS
from app.predictions.errors import (
    FieldProblem,
    InvalidInput,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output
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


def test_example_request_and_prediction():
    """The example request becomes a prediction that is shown as the example response, also in its webhook."""
    body = wire.parse_create(example("create.request.json"))
    asked = read_input("flux-2-klein-4b", body.input)
    slug, input_values = asked.slug, asked.input
    queued = a_prediction(
        model=slug, input=input_values, webhook=wire.read_webhook(body, "https://host", "whsec_")
    )
    running = queued.claim("a", NOW).advance("a", 4, 4)
    ended = running.succeed("a", (OUTPUT,), (), ENDED)

    assert show(ended) == example("prediction.answer.json")
    assert json.loads(webhook_body(ended, LINKS, lambda o: LINKS.url(ended, o))) == show(ended)


@pytest.mark.parametrize("megapixels", get_args(Megapixels))
@pytest.mark.parametrize("ratio", [r for r in get_args(Ratio) if r != "custom"])
def test_every_size_fits_model(ratio, megapixels):
    """Each ratio and number of megapixels gives a size that the catalog accepts, close to both, and is shown again as sent."""
    asked = read_input(
        "flux-2-klein-4b",
        {"prompt": "x", "aspect_ratio": ratio, "output_megapixels": megapixels},
    )
    slug, input_values = asked.slug, asked.input
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
def test_sizes_of_other_dialects(stored, shown):
    """A size from another dialect is shown by its ratio, or else in pixels."""
    model = MODELS[model_slug("flux-2-klein-4b", is_edit="image_urls" in stored)]
    body = show_input({"prompt": "x", "seed": 1} | stored, model.default_size)

    assert {k: body.get(k) for k in shown} == shown


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (VERSION, "flux-2-klein-4b"),
        ("black-forest-labs/flux-2-klein-4b", "flux-2-klein-4b"),
        (f"black-forest-labs/flux-2-klein-4b:{VERSION}", "flux-2-klein-4b"),
        ("black-forest-labs/flux-2-klein-4b-base", "flux-2-klein-4b-base"),
    ],
)
def test_versions(version, name):
    """A version is accepted in each of its forms."""
    assert model_of(version) == name


@pytest.mark.parametrize(
    "version", [None, "", "x", f"flux-2-klein-4b:{VERSION}", "a/b", "a/b:c", f":{'0' * 64}"]
)
def test_unknown_versions_are_refused(version):
    """An unknown version is refused with the name of the field."""
    with pytest.raises(InvalidInput, match="version"):
        model_of(version)


def test_base_model_takes_guidance():
    """Guidance reaches the base model and is ignored for the distilled one, and an unknown model is refused."""
    base = read_input("flux-2-klein-4b-base", {"prompt": "x", "guidance": 2})
    distilled = read_input("flux-2-klein-4b", {"prompt": "x", "guidance": 2})

    assert base.input["guidance_scale"] == 2
    assert "guidance_scale" not in distilled.input
    assert distilled.notes == ("WARNING: 'guidance' has no effect here",)
    with pytest.raises(UnknownModel):
        check_model("black-forest-labs", "flux-2-max")


def test_failure():
    """A failed prediction has its error and no output."""
    queued = a_prediction()
    body = show(
        queued.claim("a", NOW).fail("a", Failure(cause=Cause.ENGINE, message="no image"), ENDED)
    )

    assert (body["status"], body["error"], body["output"]) == ("failed", "no image", None)


@pytest.mark.parametrize(
    ("names", "events"),
    [
        (None, ("output", "completed")),
        (["completed", "start", "start"], ("start", "completed")),
        (["start", "logs"], ("start", "logs")),
        ([], None),
    ],
)
def test_webhook_event_filter(names, events):
    """The events of the filter are told, output and completed without one, and nothing with an empty one."""
    body = wire.CreateBody(input={}, webhook="https://host/told", webhook_events_filter=names)
    webhook = wire.read_webhook(body, "https://klein.test", "whsec_")

    assert (webhook and webhook.events) == events


@pytest.mark.parametrize("webhook", ["ftp://a", "nonsense", "https://me:secret@host"])
def test_invalid_webhooks_are_refused(webhook):
    """A webhook URL that cannot be called is refused by name."""
    with pytest.raises(InvalidInput, match="webhook: send a URL"):
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
def test_route_pattern(line, is_theirs):
    """Only the requests of Replicate's routes match its pattern."""
    assert bool(wire.REQUESTS.match(line)) is is_theirs


def test_whole_numbers_may_have_a_decimal_point():
    """A number such as 7.0 is taken for an integer."""
    sent = {"prompt": "x", "seed": 7.0, "output_quality": 80.0}
    values = read_input("flux-2-klein-4b", sent).input

    assert (values["seed"], values["output_quality"]) == (7, 80)


def test_images_are_read_from_every_field_that_clients_use():
    """Images come in order from `images` and from the numbered fields of other FLUX models, and errors name the field."""
    asked = read_input("flux-2-klein-4b", {"prompt": "x", "input_image_2": "b", "input_image": "a"})

    assert asked.slug == "flux-2-klein-4b-edit"
    assert asked.input["image_urls"] == ["a", "b"]
    assert asked.notes == ()
    wrong = InvalidInput(FieldProblem(field="image_urls[1]", message="not an image"))
    assert asked.rename_fields(wrong).problems[0].field == "input_image_2"
    fields = {"input_image": "a"} | {f"input_image_{k}": "a" for k in range(2, 6)}
    with pytest.raises(InvalidInput, match=r"input_image_5: .*at most 4 items"):
        read_input("flux-2-klein-4b", {"prompt": "x"} | fields)


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"num_outputs": 3}, "num_images", 3),
        ({"num_inference_steps": 2}, "num_inference_steps", 2),
        ({"size": "640x480"}, "image_size", {"width": 640, "height": 480}),
        ({"width": 650, "height": 480}, "image_size", {"width": 656, "height": 480}),
        (
            {"aspect_ratio": "custom", "width": 512, "height": 256},
            "image_size",
            {"width": 512, "height": 256},
        ),
    ],
)
def test_fields_of_other_models_are_honoured(sent, field, value):
    """A field that changes what the caller gets has its effect, and no warning."""
    asked = read_input("flux-2-klein-4b", {"prompt": "x"} | sent)

    assert asked.input[field] == value
    assert asked.notes == ()


def test_mask_and_strength():
    """A mask and its strength are read, shown again, and named in problems by the names that were sent."""
    sent = {"prompt": "x", "images": ["data:,a"], "mask": "data:,b", "prompt_strength": 0.5}
    asked = read_input("flux-2-klein-4b", sent)
    shown = show_input(asked.input, None)
    problem = InvalidInput(FieldProblem(field="mask_url", message="black"))

    assert (asked.input["mask_url"], asked.input["strength"], asked.notes) == ("data:,b", 0.5, ())
    assert (shown["mask"], shown["prompt_strength"]) == ("data:,b", 0.5)
    assert asked.rename_fields(problem).problems[0].field == "mask"


def test_ignored_fields_are_named_in_the_logs():
    """Each field without an effect is named in the logs, a bounded number of them."""
    asked = read_input("flux-2-klein-4b", {"prompt": "x", "safety_tolerance": 2, "raw": 1})
    assert asked.notes == (
        "WARNING: 'safety_tolerance' has no effect here",
        "WARNING: 'raw' has no effect here",
    )

    ended = a_prediction(notes=asked.notes).claim("a", NOW).succeed("a", (), ("resized",), NOW)
    assert show(ended)["logs"].splitlines()[1:] == [*asked.notes, "resized"]
    many = read_input("flux-2-klein-4b", {"prompt": "x"} | {f"f{k}" * 99: 1 for k in range(99)})
    assert len(many.notes) == 21
    assert max(map(len, many.notes)) < 80


def test_model_with_loras():
    """The model with LoRAs runs on the base model, with each scale beside its LoRA."""
    sent = {"prompt": "x", "lora_weights": ["a.safetensors"], "lora_scales": [0.5]}
    asked = read_input("flux-2-klein-4b-base-lora", sent)

    assert asked.slug == "flux-2-klein-4b-base-text-to-image"
    assert asked.input["loras"] == [{"path": "a.safetensors", "scale": 0.5}]
    shown = show(a_prediction(model=asked.slug, input=asked.input))
    assert shown["model"] == "black-forest-labs/flux-2-klein-4b-base-lora"
    assert (shown["input"]["lora_weights"], shown["input"]["lora_scales"]) == (
        ["a.safetensors"],
        [0.5],
    )
    with pytest.raises(InvalidInput, match="lora_scales: send one scale"):
        read_input("flux-2-klein-4b-base-lora", sent | {"lora_scales": [1, 2]})

"""Tests of the OpenAI dialect: how images are shown, and how requests are read."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import BadBody
from app.dialects.image_links import ImageLinks
from app.dialects.openai import wire
from app.dialects.openai.routes import NoImage, render_error
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, Unavailable, UnknownModel
from app.predictions.prediction import Cause, Failure, Output
from tests.support.fakes import NOW, a_prediction

EXAMPLES = Path(__file__).parents[2] / "examples" / "openai"
BOTH = frozenset(CheckpointKind)
LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/files/{key}",
)


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def test_a_request_and_its_answer_are_as_in_the_examples():
    """The example request gives a valid input, and its result is shown as the example response."""
    body = wire.parse_body(example("generations.request.json"))
    slug = wire.find_slug(body.model, BOTH, is_edit=False)
    input_values = wire.read_input(body, [])
    checked = MODELS[slug].parse(input_values)
    assert (checked.size, checked.num_images, checked.output_quality) == ((512, 256), 2, 80)

    outputs = tuple(Output(key=f"p/a/{k}.jpeg", width=512, height=256) for k in range(2))
    running = a_prediction(model=slug, input=input_values).claim("a", NOW)
    ended = running.succeed("a", outputs, (), NOW)
    shown = wire.images_body(ended, LINKS, None, with_urls=True)

    assert shown == example("generations.answer.json")


@pytest.mark.parametrize(
    ("name", "is_edit", "slug"),
    [
        (None, False, "flux-2-klein-4b-text-to-image"),
        ("flux-2-klein-4b", True, "flux-2-klein-4b-edit"),
        ("flux-2-klein-4b-text-to-image", True, "flux-2-klein-4b-edit"),
        ("flux-2-klein-4b-base", False, "flux-2-klein-4b-base-text-to-image"),
    ],
)
def test_models_by_name(name, is_edit, slug):
    """One model name works for generations and edits, and the default is the served model."""
    assert wire.find_slug(name, BOTH, is_edit=is_edit) == slug


@pytest.mark.parametrize("kind", CheckpointKind)
def test_without_a_model_the_served_kind_is_used(kind):
    """A request that names no model gets the kind of checkpoint that is served, whichever that is."""
    slug = wire.find_slug(None, frozenset({kind}), is_edit=False)

    assert MODELS[slug].checkpoint is kind


def test_the_served_model_is_the_default():
    """Without a model name a server of a base checkpoint uses that checkpoint, and an unknown name is refused."""
    base = frozenset({CheckpointKind.BASE})

    assert wire.find_slug(None, base, is_edit=True) == "flux-2-klein-4b-base-edit"
    with pytest.raises(UnknownModel):
        wire.find_slug("gpt-image-2", BOTH, is_edit=False)


def test_form_fields_are_numbers():
    """Digits in form fields are read as numbers, and other text is refused."""
    body = wire.parse_body({"prompt": "x", "n": "2", "seed": "7", "size": "auto"})
    assert (body.n, body.seed) == (2, 7)
    assert "image_size" not in wire.read_input(body, ["data:,"])

    with pytest.raises(InvalidInput, match="n: "):
        wire.parse_body({"prompt": "x", "n": "two"})


@pytest.mark.parametrize(
    ("exc", "status", "kind", "code", "param"),
    [
        (Unavailable("x"), 503, "server_error", None, None),
        (BadBody("x"), 400, "invalid_request_error", None, None),
        (RuntimeError("secret"), 500, "server_error", None, None),
        (UnknownModel("m"), 404, "invalid_request_error", "model_not_found", "model"),
        (
            InvalidInput(FieldProblem(field="size", message="x")),
            400,
            "invalid_request_error",
            "invalid_value",
            "size",
        ),
    ],
)
def test_errors(exc, status, kind, code, param):
    """Errors have OpenAI's form, and an unexpected error reveals no details."""
    rendered = render_error(exc)
    error = rendered.body["error"]

    assert (rendered.status, error["type"], error["code"], error["param"]) == (
        status,
        kind,
        code,
        param,
    )
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("cause", "status", "code"),
    [
        (Cause.INPUT, 400, "input"),
        (Cause.WITHHELD, 400, "content_policy_violation"),
        (Cause.ENGINE, 500, "engine"),
        (Cause.TIMEOUT, 500, "timeout"),
    ],
)
def test_failures(cause, status, code):
    """A failed prediction is an error that tells the client not to retry."""
    running = a_prediction().claim("a", NOW)
    rendered = render_error(NoImage(running.fail("a", Failure(cause=cause, message="why"), NOW)))

    assert (rendered.status, rendered.body["error"]["message"]) == (status, "why")
    assert rendered.body["error"]["code"] == code
    assert rendered.headers == {"x-should-retry": "false"}

"""Tests of the dialect of Hugging Face: how requests are read, and how errors are shown."""

from dataclasses import fields

import pytest
from huggingface_hub import ImageToImageParameters, TextToImageParameters

from app.dialects.huggingface import wire
from app.dialects.huggingface.routes import render_error
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput

DISTILLED = frozenset({CheckpointKind.DISTILLED})


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({}, (1024, 1024)),
        ({"width": 500, "height": 256, "seed": 7, "num_inference_steps": 2}, (496, 256)),
    ],
)
def test_request(parameters, size):
    """A prompt and its parameters are the input of the served model, and a size is rounded."""
    slug, values = wire.read_input({"inputs": "x", "parameters": parameters}, DISTILLED)
    checked = MODELS[slug].parse(values)

    assert (checked.size, checked.seed) == (size, parameters.get("seed"))


def test_every_parameter_of_the_client_is_read():
    """What `huggingface_hub` can send is read, except the scheduler, which this model has not."""
    kinds = (TextToImageParameters, ImageToImageParameters)
    sent = {field.name for kind in kinds for field in fields(kind)}

    assert sent - {"scheduler"} <= set(wire.Parameters.model_fields)


@pytest.mark.parametrize(
    ("size", "image_size"),
    [
        ({}, None),
        ({"target_size": {"width": 500, "height": 256.0}}, {"width": 496, "height": 256}),
        ({"width": 512}, {"width": 512, "height": 1024}),
    ],
)
def test_inputs_beside_a_prompt_are_an_image(size, image_size):
    """A request with a prompt among its parameters edits its inputs, in the size that it asks for or in that of the image."""
    body = {"inputs": "iVBORw0KGgo=", "parameters": {"prompt": "make it red", "seed": 7} | size}
    slug, values = wire.read_input(body, DISTILLED)

    assert slug == "flux-2-klein-4b-edit"
    assert values["prompt"] == "make it red"
    assert values["image_urls"] == ["data:application/octet-stream;base64,iVBORw0KGgo="]
    assert (values.get("image_size"), values["seed"]) == (image_size, 7)
    assert wire.read_notes(body) == ()


def test_fields_without_effect_are_named():
    """Each field that is not read is named, whether of the request or of its parameters. One that is null is not sent."""
    parameters = {"width": 64, "scheduler": "x", "eta": 1, "seed": None, "clip_skip": None}
    body = {"inputs": "x", "parameters": parameters, "options": {"use_cache": False}}

    assert wire.read_notes(body) == tuple(
        f"WARNING: '{name}' has no effect here"
        for name in ("options", "parameters.scheduler", "parameters.eta")
    )
    assert wire.read_notes({"inputs": "x", "parameters": None}) == ()


def test_warnings_fit_a_header():
    """The header with the warnings is one line of ASCII, whatever the names of the fields are. Without warnings there is none."""
    notes = wire.read_notes({"inputs": "x", "größe\r\n": 1, "b": 2})

    [text] = wire.notes_header(notes).values()
    assert text.isascii()
    assert text.isprintable()
    assert text.count("has no effect here") == 2
    assert wire.notes_header(()) == {}


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("image/jpeg", "jpeg"),
        ("text/html, IMAGE/WebP;q=0.9, image/png", "webp"),
    ],
)
def test_accept_chooses_format(accept, chosen):
    """The first format of images in `Accept` is that of the file."""
    assert wire.output_format(accept) == chosen


def test_base_model_is_served_where_it_is_the_only_one():
    """A server of a base checkpoint uses that."""
    slug, _ = wire.read_input({"inputs": "x"}, frozenset({CheckpointKind.BASE}))

    assert slug == "flux-2-klein-4b-base-text-to-image"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": ""}, "inputs"),
        ({"inputs": {"prompt": "x"}}, "inputs"),
        ({"inputs": "x", "parameters": []}, "parameters"),
        ({"inputs": "x", "parameters": {"width": 0}}, "width"),
        ({"inputs": "x", "parameters": {"seed": "x"}}, "seed"),
        ({"inputs": "x", "parameters": {"prompt": 5}}, "prompt"),
    ],
)
def test_wrong_fields_are_named(body, field):
    """A wrong field is refused by its name."""
    with pytest.raises(InvalidInput) as caught:
        wire.read_input(body, DISTILLED)

    assert [problem.field for problem in caught.value.problems] == [field]


def test_errors():
    """An error is one sentence that reveals nothing unexpected. `inputs` is the prompt, or the image of an edit."""
    prompt = InvalidInput(FieldProblem(field="prompt", message="must not be blank"))
    image = InvalidInput(FieldProblem(field="image_urls[0]", message="is no image"))
    shown = [
        render_error(wire.rename_fields(problem, of_edit=of_edit)).body["error"]
        for problem, of_edit in ((prompt, False), (prompt, True), (image, True))
    ]

    assert shown == [
        "inputs: must not be blank",
        "prompt: must not be blank",
        "inputs: is no image",
    ]
    assert "secret" not in str(render_error(RuntimeError("secret")).body)

"""Tests of the OpenAI dialect: how images are shown, and how requests are read."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import openai.types
import pytest

from app.api.errors import BadBody
from app.dialects.image_links import ImageLinks
from app.dialects.openai import wire
from app.dialects.openai.body import parse_body, read_inputs
from app.dialects.openai.errors import render_error
from app.dialects.openai.names import ModelNames
from app.dialects.openai.references import read_json_images, read_json_mask
from app.dialects.run import NoImage
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, Unavailable, UnknownModel
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output
from tests.support.fakes import NOW, a_prediction

EXAMPLES = Path(__file__).parents[2] / "examples" / "openai"
OCTETS = "data:application/octet-stream;base64,"
BOTH = frozenset(CheckpointKind)
LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/files/{key}",
)


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def test_example_request_and_response():
    """The example request gives a valid input, and its result is shown as the example response."""
    body = parse_body(example("generations.request.json"))
    slug = ModelNames().find_slug(body.model, BOTH, is_edit=False)
    [input_values] = read_inputs(body, [])
    checked = MODELS[slug].parse(input_values)
    assert (checked.size, checked.num_images, checked.output_quality) == ((512, 256), 2, 80)

    outputs = tuple(Output(key=f"p/a/{k}.jpeg", width=512, height=256) for k in range(2))
    running = a_prediction(model=slug, input=input_values).claim("a", NOW)
    ended = running.succeed("a", outputs, (), NOW)
    form = wire.Form(has_file=False, has_url=True)
    images = [wire.image_body(ended, output, None, LINKS, form) for output in outputs]
    shown = wire.images_body([ended], images)

    assert shown == example("generations.answer.json")


@pytest.mark.parametrize(
    ("name", "is_edit", "slug"),
    [
        (None, False, "flux-2-klein-4b-text-to-image"),
        ("", False, "flux-2-klein-4b-text-to-image"),
        ("flux-2-klein-4b", True, "flux-2-klein-4b-edit"),
        ("flux-2-klein-4b-text-to-image", True, "flux-2-klein-4b-edit"),
        ("flux-2-klein-4b-base", False, "flux-2-klein-4b-base-text-to-image"),
        ("black-forest-labs/FLUX.2-klein-4B", False, "flux-2-klein-4b-text-to-image"),
        ("black-forest-labs/FLUX.2-klein-base-4B", False, "flux-2-klein-4b-base-text-to-image"),
        ("black-forest-labs/flux-2-klein-9b", True, "flux-2-klein-9b-edit"),
        ("gpt-image-1", False, "flux-2-klein-4b-text-to-image"),
        ("gpt-image-2.5-sunburst-2026-09-08", True, "flux-2-klein-4b-edit"),
        ("dall-e-3", False, "flux-2-klein-4b-text-to-image"),
    ],
)
def test_models_by_name(name, is_edit, slug):
    """One name works for generations and edits, a name of OpenAI's or none means the served model, and a hub id its own."""
    assert ModelNames().find_slug(name, BOTH, is_edit=is_edit) == slug


@pytest.mark.parametrize("name", get_args(openai.types.ImageModel))
def test_every_model_of_the_sdk_is_served(name):
    """Each name that OpenAI's own client knows means the served model."""
    assert ModelNames().find_slug(name, BOTH, is_edit=False) == "flux-2-klein-4b-text-to-image"


@pytest.mark.parametrize("kind", CheckpointKind)
def test_default_model_is_served_kind(kind):
    """A request that names no model gets the kind of checkpoint that is served, whichever that is."""
    slug = ModelNames().find_slug(None, frozenset({kind}), is_edit=False)

    assert MODELS[slug].checkpoint is kind


@pytest.mark.parametrize(
    "name", ["gpt-4o", "flux-1-dev", "stabilityai/sdxl", "flux-2-klein", "../x"]
)
def test_other_models_are_unknown(name):
    """A name of another kind of model is refused."""
    with pytest.raises(UnknownModel):
        ModelNames().find_slug(name, BOTH, is_edit=False)


def test_configured_names_replace_those_of_openai():
    """The setting decides which names mean what is served. Names without * are listed after klein's own."""
    names = ModelNames.of(("our-painter", "sd-*"))
    served = frozenset({CheckpointKind.BASE})

    assert names.find_slug("sd-xl", served, is_edit=False) == "flux-2-klein-4b-base-text-to-image"
    assert names.list_all(served) == ["flux-2-klein-4b-base", "our-painter"]
    with pytest.raises(UnknownModel):
        names.find_slug("gpt-image-1", served, is_edit=False)


@pytest.mark.parametrize(
    ("sent", "has_file", "has_url"),
    [
        ({}, True, True),
        ({"model": "gpt-image-1"}, True, False),
        ({"model": "dall-e-3"}, False, True),
        ({"model": "dall-e-3", "response_format": "b64_json"}, True, False),
        ({"response_format": "base64"}, True, False),
        ({"response_format": "url"}, False, True),
    ],
)
def test_form_of_answer(sent, has_file, has_url):
    """An answer has the form that was asked for, else that of the model that was named."""
    form = wire.form_of(parse_body({"prompt": "x"} | sent), ModelNames())

    assert form == wire.Form(has_file=has_file, has_url=has_url)


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        ({}, (1024, 1024)),
        ({"size": "auto"}, (1024, 1024)),
        ({"size": ""}, (1024, 1024)),
        ({"size": "1792x1024"}, (1792, 1024)),
        ({"size": "256X256"}, (256, 256)),
        ({"size": "512*384"}, (512, 384)),
        ({"size": "1000x700"}, (1008, 704)),
        ({"size": "3840x2160"}, (2720, 1536)),
        ({"width": 512, "height": "256"}, (512, 256)),
    ],
)
def test_sizes(sent, size):
    """A size is rounded to the nearest that the model takes, in each spelling that clients use."""
    [values] = read_inputs(parse_body({"prompt": "x"} | sent), [])

    assert MODELS["flux-2-klein-4b-text-to-image"].parse(values).size == size


@pytest.mark.parametrize(
    ("sent", "shares"),
    [
        ({}, [(None, None)]),
        ({"n": 4, "seed": 7}, [(4, 7)]),
        ({"n": "10", "seed": 7}, [(4, 7), (4, 11), (2, 15)]),
        ({"n": 6, "seed": -1}, [(4, -1), (2, -1)]),
        ({"n": 5}, [(4, None), (1, None)]),
    ],
)
def test_more_images_than_a_prediction_has(sent, shares):
    """Up to ten images are divided among predictions, whose seeds follow each other."""
    inputs = read_inputs(parse_body({"prompt": "x"} | sent), [])

    assert [(values.get("num_images"), values.get("seed")) for values in inputs] == shares


@pytest.mark.parametrize(
    "sent",
    [
        *({"quality": quality} for quality in ("low", "xhigh", "hd", "standard", "auto")),
        *({"background": background} for background in ("auto", "opaque", "transparent", "")),
        {"output_format": "jpg"},
        {"moderation": "low", "style": "vivid", "user": "me", "input_fidelity": "high"},
        {"stream": "false", "n": "", "response_format": ""},
        {"prompt": "x" * 32_000},
        {"steps": 4, "guidance": 3, "negative_prompt": "blue"},
    ],
    ids=str,
)
def test_values_of_their_schema_are_taken(sent):
    """Each value that OpenAI's schema or a server with the same API has is taken."""
    [values] = read_inputs(parse_body({"prompt": "x"} | sent), [])

    assert MODELS["flux-2-klein-4b-text-to-image"].parse(values)


def test_form_fields_are_numbers():
    """Digits in form fields are read as numbers, and other text is refused."""
    body = parse_body({"prompt": "x", "n": "2", "seed": "7", "size": "auto"})
    assert (body.n, body.seed) == (2, 7)
    assert "image_size" not in read_inputs(body, ["data:,"])[0]

    with pytest.raises(InvalidInput, match="n: "):
        parse_body({"prompt": "x", "n": "two"})


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


def test_whole_numbers_may_have_a_decimal_point():
    """A number such as 2.0 is taken for an integer, and a form may have a negative seed."""
    body = parse_body({"prompt": "x", "n": 2.0, "seed": 7.0})

    assert read_inputs(body, [])[0]["num_images"] == 2
    assert parse_body({"prompt": "x", "seed": "-1"}).seed == -1


@pytest.mark.parametrize(
    ("sent", "images"),
    [
        ({}, []),
        ({"image": "data:image/png;base64,AA"}, ["data:image/png;base64,AA"]),
        ({"image": ["https://a/", "AAAA"]}, ["https://a/", OCTETS + "AAAA"]),
        ({"images": [{"image_url": "https://a/"}, {"file_id": "f"}]}, ["https://a/", "at f"]),
        ({"images": [{"image_url": {"url": "https://a/"}}]}, ["https://a/"]),
        (
            {"image_url": "https://a/", "reference_images": ["https://b/"]},
            ["https://a/", "https://b/"],
        ),
    ],
)
def test_images_of_json(sent, images):
    """Images in JSON are URLs, data URIs, base64 or ids of files, alone or in lists."""
    assert read_json_images(sent, lambda file_id: f"at {file_id}") == images


@pytest.mark.parametrize(
    ("mask", "url"),
    [
        (None, None),
        ("", None),
        ("AAAA", f"{OCTETS}AAAA"),
        ({"image_url": "https://a.test/m.png"}, "https://a.test/m.png"),
        ({"file_id": "f"}, "at f"),
    ],
)
def test_mask_of_json(mask, url):
    """A mask in JSON is a URL, a data URI, base64 or the id of a file."""
    assert read_json_mask({"mask": mask}, lambda file_id: f"at {file_id}") == url


def test_mask_and_strength():
    """A mask and a strength, as a number or a form field, reach the input."""
    body = parse_body({"prompt": "x", "mask": "data:,m", "strength": "0.5"})
    [values] = read_inputs(body, ["data:,i"])

    assert (values["mask_url"], values["strength"]) == ("data:,m", 0.5)
    with pytest.raises(InvalidInput, match="mask: send an image as"):
        read_json_mask({"mask": 5}, str)


@pytest.mark.parametrize("image", [5, {"file_id": 5}, {"image_url": None}, [""], [[]]])
def test_wrong_images_of_json(image):
    """An image of another form is refused by name."""
    with pytest.raises(InvalidInput, match="image: send an image as"):
        read_json_images({"image": image}, str)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("guidance_scale", "4.0", 4.0),
        ("guidance", "4", 4.0),
        ("strength", "1e-1", 0.1),
        ("strength", ".5", 0.5),
        ("seed", "1.0", 1),
        ("seed", "-1", -1),
        ("n", " 2 ", 2),
        ("steps", "+4", 4),
        ("stream", "True", True),
        ("stream", "0", False),
    ],
)
def test_text_of_form_is_number_or_boolean(field, text, value):
    """A form has text alone, which means the number or the boolean that a language writes so."""
    parsed = parse_body({"prompt": "x", field: text})

    name = {"guidance": "guidance_scale", "steps": "num_inference_steps"}.get(field, field)
    assert getattr(parsed, name) == value


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"steps": "many"}, "steps"),
        ({"num_inference_steps": "many"}, "num_inference_steps"),
        ({"guidance": []}, "guidance"),
        ({"n": "."}, "n"),
        ({"stream": "perhaps"}, "stream"),
    ],
)
def test_problem_has_name_that_was_sent(sent, field):
    """A problem names the field that was sent, not another name of it."""
    with pytest.raises(InvalidInput) as caught:
        parse_body({"prompt": "x"} | sent)

    assert [problem.field for problem in caught.value.problems] == [field]

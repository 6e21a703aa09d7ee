"""Tests of the dialect of Black Forest Labs: how requests are read, and how predictions are shown."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.dialects.bfl import wire
from app.dialects.image_links import ImageLinks
from app.dialects.registry import webhook_body
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output
from tests.support.fakes import NOW, a_prediction

EXAMPLES = Path(__file__).parents[2] / "examples" / "bfl"
ENDED = NOW + timedelta(seconds=1.5)
LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/files/{key}",
    mount="/bfl",
)
OUTPUT = Output(key="p/a/0.jpg", width=512, height=384)


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def test_example_request_and_result():
    """The example request becomes a prediction that is shown as the example result, also in its webhook."""
    body = wire.parse_create(example("create.request.json"))
    slug, input_values = wire.read_input("flux-2-klein-4b", body)
    assert MODELS[slug].parse(input_values).size == (512, 384)

    webhook = wire.read_webhook(body, LINKS.base)
    queued = a_prediction(model=slug, input=input_values, webhook=webhook)
    ended = queued.claim("a", NOW).advance("a", 4, 4).succeed("a", (OUTPUT,), (), ENDED)

    def show(output: Output) -> str:
        return LINKS.url(ended, output)

    assert wire.accepted_body(queued, LINKS) == example("create.answer.json")
    assert wire.result_body(ended, show) == example("result.answer.json")
    assert json.loads(webhook_body(ended, LINKS, show)) == example("result.answer.json")


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        ({}, (1024, 1024)),
        ({"width": 500}, (496, 1024)),
        ({"width": 640, "height": 470}, (640, 464)),
        ({"aspect_ratio": "16:9"}, (1360, 768)),
        ({"aspect_ratio": "16:9", "width": 512, "height": 512}, (512, 512)),
        ({"input_image": "https://host/a.png"}, None),
        ({"input_image": "https://host/a.png", "width": 0, "height": 0}, None),
    ],
)
def test_sizes(sent, size):
    """A size is rounded to one that the model takes. An edit without one has that of its first image."""
    slug, values = wire.read_input("flux-2-klein-4b", wire.parse_create({"prompt": "x"} | sent))

    assert MODELS[slug].parse(values).size == size


def test_images_are_numbered_urls_or_base64():
    """Images come in the order of their numbers, as URLs or base64, and a problem names the field."""
    sent = {"prompt": "x", "input_image_2": "https://host/b.png", "input_image": "AAAA"}
    body = wire.parse_create(sent)
    slug, values = wire.read_input("flux-2-klein-4b", body)

    assert slug == "flux-2-klein-4b-edit"
    assert values["image_urls"] == [
        "data:application/octet-stream;base64,AAAA",
        "https://host/b.png",
    ]
    wrong = InvalidInput(FieldProblem(field="image_urls[1]", message="not an image"))
    assert wire.rename_fields(wrong, body).problems[0].field == "input_image_2"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "width": -1}, "width"),
        ({"prompt": "x", "aspect_ratio": "wide"}, "aspect_ratio"),
        ({"prompt": "x", "output_format": "gif"}, "output_format"),
        ({"prompt": "x", "input_image": 5}, "input_image"),
        ({"prompt": "x"} | {f"input_image_{k}": "A" for k in range(2, 7)}, "input_image_6"),
        ({"prompt": "x", "webhook_url": "ftp://a"}, "webhook_url"),
    ],
)
def test_wrong_fields_are_named(sent, field):
    """A wrong field is refused by its name."""
    with pytest.raises(InvalidInput) as caught:
        wire.parse_create(sent)

    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize("name", ["flux-pro-1.1", "flux-pro-1.1-ultra", "flux-dev", "flux-2-max"])
def test_other_model_is_what_is_served(name):
    """A model of Black Forest Labs that takes the same input means what is served."""
    served = frozenset({CheckpointKind.BASE})

    assert wire.find_name(name, served) == "flux-2-klein-4b-base"
    assert wire.find_name(name, served | {CheckpointKind.DISTILLED}) == "flux-2-klein-4b"
    assert wire.find_name("flux-2-klein-4b", served) == "flux-2-klein-4b"


@pytest.mark.parametrize("name", ["flux-pro-1.0-fill", "flux-pro-finetuned", "nothing"])
def test_unknown_model(name):
    """A model that takes another input is unknown."""
    with pytest.raises(UnknownModel):
        wire.find_name(name, frozenset(CheckpointKind))


@pytest.mark.parametrize(
    ("cause", "status"), [(Cause.ENGINE, "Error"), (Cause.WITHHELD, "Content Moderated")]
)
def test_failures(cause, status):
    """A failure has a status of its own and says why."""
    failed = a_prediction().claim("a", NOW).fail("a", Failure(cause=cause, message="why"), ENDED)
    body = wire.result_body(failed, lambda _: "")

    assert (body["status"], body["result"], body["details"]) == (status, None, {"error": "why"})


def test_aspect_ratio_is_named_without_a_pattern():
    """An empty aspect ratio is none, and a wrong one is refused in words."""
    assert wire.parse_create({"prompt": "x", "aspect_ratio": ""}).size == (1024, 1024)
    with pytest.raises(InvalidInput, match="aspect_ratio: must be width to height, such as 16:9"):
        wire.parse_create({"prompt": "x", "aspect_ratio": "16-9"})

"""Tests of the order that the engine gets for a prediction."""

from dataclasses import fields, replace

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.failure import Cause, Failure
from app.predictions.parameters import AppliedLora, OutputFormat, Parameters
from app.storage.errors import FileMissing, StorageError
from tests.support.fakes import a_prediction
from worker.engines import Lora, Order
from worker.job.input_files import read_failure
from worker.job.order import order_of
from worker.job.token import run_next

READ_BY_THE_PUBLISHER = {"metadata", "output_format", "output_quality"}
OTHER = Parameters(
    width=64,
    height=64,
    steps=9,
    guidance=3.0,
    seeds=(8, 9),
    negative_prompt="fog",
    loras=(AppliedLora(path="a.safetensors", scale=1.0),),
    strength=0.5,
    previews=True,
    output_format=OutputFormat.WEBP,
    output_quality=50,
)
"""Each value differs from that of `a_prediction`."""


def order(model="flux-2-klein-4b-text-to-image", reference_files=(), **values):
    sent = {"prompt": "a house", "seed": 7} | values
    return order_of(a_prediction(model=model, input=sent), reference_files)


def with_other(settled, name):
    return replace(settled, **{name: getattr(OTHER, name)})


def test_default_order():
    """A prompt and a seed become four steps of one landscape image, without guidance."""
    assert order() == Order(
        prompt="a house",
        width=1024,
        height=768,
        steps=4,
        guidance=1.0,
        seeds=(7,),
        reference_files=(),
        negative_prompt="",
    )


def test_every_parameter_reaches_order():
    """Each parameter changes the order, except those that the publisher reads."""
    settled = a_prediction().parameters
    without_effect = {
        field.name
        for field in fields(Parameters)
        if order_of(a_prediction(parameters=with_other(settled, field.name)), ())
        == order_of(a_prediction(parameters=settled), ())
    }

    assert without_effect == READ_BY_THE_PUBLISHER


def test_edit_has_reference_images_and_no_size():
    """The order of an edit has its reference images as bytes, and no size, so that the engine decides."""
    edit = order("flux-2-klein-4b-edit", (b"png",), image_urls=["p/in-0.png"])

    assert (edit.reference_files, edit.width, edit.height) == ((b"png",), None, None)


def test_loras_are_passed_by_name():
    """Each LoRA keeps its name, its place and its scale."""
    lora_order = order(loras=[{"path": "b.safetensors"}, {"path": "a.safetensors", "scale": -2}])

    assert lora_order.loras == (
        Lora(path="b.safetensors", scale=1),
        Lora(path="a.safetensors", scale=-2),
    )


def test_process_without_engine_refuses_tokens():
    """Without an engine the job raises RuntimeError."""
    with pytest.raises(RuntimeError, match="not a klein worker"):
        run_next(CheckpointKind.DISTILLED)


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (StorageError("the disk is full"), Cause.STORAGE, "the disk is full"),
        (FileMissing("p/in-0.png"), Cause.INPUT, "an input image has expired; send it again"),
    ],
)
def test_failure_of_unreadable_reference_images(error, cause, message):
    """An expired reference image is the caller's error. Any other storage error is ours."""
    assert read_failure(error) == Failure(cause=cause, message=message)

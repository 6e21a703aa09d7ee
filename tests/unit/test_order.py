"""What the engine is told of a prediction."""

import pytest

from app.predictions.prediction import Cause, Failure
from app.storage.errors import FileMissing, StorageError
from tests.fakes import a_prediction
from worker.engines import Lora, Order
from worker.job.generator import read_failure
from worker.job.order import order_of
from worker.job.token import run_next

BASE = "flux-2-klein-4b-base-text-to-image"


def order(model="flux-2-klein-4b-text-to-image", references=(), **values):
    given = {"prompt": "a house", "seed": 7} | values
    return order_of(a_prediction(model=model, input=given), references)


def test_the_plainest_order():
    """A prompt and a seed become four steps of one landscape picture, without guidance."""
    assert order() == Order(
        prompt="a house",
        width=1024,
        height=768,
        steps=4,
        guidance=1.0,
        seeds=(7,),
        references=(),
        negative_prompt="",
    )


def test_pictures_have_consecutive_seeds():
    """Picture k of seed s is drawn with seed s + k."""
    assert order(num_images=3).seeds == (7, 8, 9)
    assert order(seed=-1, num_images=2).seeds == (-1, 0)


def test_only_a_base_checkpoint_honours_guidance():
    """A distilled checkpoint always gets 1.0, a base checkpoint what was asked."""
    assert order(guidance_scale=3).guidance == 1.0
    assert order(BASE, guidance_scale=3, negative_prompt="fog").guidance == 3
    assert order(BASE, negative_prompt="fog").negative_prompt == "fog"


def test_the_checkpoint_decides_the_steps_that_nobody_names():
    """4 steps distilled, 28 base, else what was asked."""
    assert [order().steps, order(BASE).steps, order(num_inference_steps=9).steps] == [4, 28, 9]


def test_an_edit_carries_its_images_and_follows_their_size():
    """References go along as bytes, and without a size the engine decides."""
    edit = order("flux-2-klein-4b-edit", (b"png",), image_urls=["p/in-0.png"])

    assert (edit.references, edit.width, edit.height) == ((b"png",), None, None)


def test_loras_go_along_by_name():
    """Each LoRA keeps its name, its place and its scale, which is 1 unless given."""
    drawn = order(loras=[{"path": "b.safetensors"}, {"path": "a.safetensors", "scale": -2}])

    assert drawn.loras == (
        Lora(path="b.safetensors", scale=1),
        Lora(path="a.safetensors", scale=-2),
    )


def test_a_process_that_is_no_worker_refuses_tokens():
    """Without an engine installed the job says so."""
    with pytest.raises(RuntimeError, match="not a klein worker"):
        run_next()


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (StorageError("the disk is full"), Cause.STORAGE, "the disk is full"),
        (FileMissing("p/in-0.png"), Cause.INPUT, "an input image has expired; send it again"),
    ],
)
def test_failure_of_unreadable_references(error, cause, message):
    """An expired reference image is the caller's error; any other storage error is ours."""
    assert read_failure(error) == Failure(cause=cause, message=message)

"""Every field of an order changes what the pipeline generates."""

import io
from dataclasses import fields, replace

import pytest
from PIL import Image

from tests.support.lora_files import write_lora
from worker.engines import Lora, Order, open_engine

pytestmark = pytest.mark.usefixtures("one_thread")


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


ORDER = Order(prompt="a red house", width=64, height=96, steps=1, guidance=5.0, seeds=(7,))
OTHER = Order(
    prompt="the moon at night",
    width=96,
    height=64,
    steps=2,
    guidance=2.0,
    seeds=(8,),
    reference_files=(png("red"),),
    negative_prompt="blurred, dark and low",
    loras=(Lora(path="a.safetensors", scale=1.0),),
    previews=True,
    mask_file=png("white"),
    strength=0.5,
)
"""Another value for each field. A field that is missing here counts as one without effect."""

NOT_FOR_THE_PIPELINE = {
    "previews": "the engine process reads it and passes on_preview; see test_engine_process.py",
    "mask_file": "applies to reference images alone; see test_inpainting.py",
    "strength": "applies to reference images alone; see test_inpainting.py",
}
NOT_IN_A_BATCH = {"reference_files": "an order with reference images is generated alone"}


@pytest.fixture(scope="module")
def engine(tiny_base_weights, tmp_path_factory):
    """Open a base checkpoint, which uses guidance and the negative prompt."""
    loras = tmp_path_factory.mktemp("loras")
    write_lora(loras / "a.safetensors")
    return open_engine(tiny_base_weights, loras)


def alone(engine, order):
    return engine.generate(order, lambda _k, _n: None).images[0]


def batch(engine, order):
    return engine.generate_batch([order, order], lambda _k, _n: None)[0].images[0]


@pytest.mark.parametrize(
    ("generate", "exceptions"),
    [(alone, NOT_FOR_THE_PIPELINE), (batch, NOT_FOR_THE_PIPELINE | NOT_IN_A_BATCH)],
)
def test_every_order_field_reaches_pipeline(engine, generate, exceptions):
    """Another value of a field gives another image, or the field is listed with the reason why not."""

    def pixels(order):
        image = generate(engine, order)
        return image.shape, image.tobytes()

    plain = pixels(ORDER)
    without_effect = {
        field.name
        for field in fields(Order)
        if pixels(replace(ORDER, **{field.name: getattr(OTHER, field.name)})) == plain
    }

    assert without_effect == set(exceptions)

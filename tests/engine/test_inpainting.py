"""Tests of masks and strength: what is redrawn, what stays, and the mathematics of diffusers."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinInpaintPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from PIL import Image

from worker.engines import Order, open_engine
from worker.engines.inference import generate_pixels
from worker.engines.original import Original, box_around, token_weights
from worker.engines.pipeline_inputs import PART_NOTE, prepare_inputs
from worker.engines.pixels import to_image_array
from worker.engines.start import Start, first_step_of
from worker.engines.step_reporter import StepReporter

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (128, 96)
BOX = (64, 32, 128, 96)  # whole tokens
EDGE_PX = 8  # where the redrawn part fades in


@pytest.fixture(scope="module")
def engine(tiny_weights):
    return open_engine(tiny_weights)


def noise_image(size=SIZE):
    """Return an image of which no two regions are equal."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def mask_image(box=BOX, size=SIZE, level=255):
    mask = Image.new("L", size)
    mask.paste(level, box)
    return mask


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def order(**changes: Any):
    values: dict[str, Any] = {
        "prompt": "a red house",
        "width": None,
        "height": None,
        "steps": 4,
        "guidance": 1.0,
        "seeds": (7,),
        "reference_files": (png(noise_image()),),
        "mask_file": png(mask_image()),
    }
    return Order(**values | changes)


def generate(engine, **changes):
    return engine.generate(order(**changes), lambda _k, _n: None).images[0]


def psnr(one, other):
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def outside(image, box=BOX):
    kept = np.ones(np.asarray(image).shape[:2], bool)
    kept[box[1] : box[3], box[0] : box[2]] = False
    return np.asarray(image)[kept]


def inside(image, box=BOX, margin=EDGE_PX):
    return np.asarray(image)[box[1] + margin : box[3], box[0] + margin : box[2]]


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_latents_are_those_of_diffusers(engine, strength):
    """Before the pixels are put back, the image is that of diffusers' inpainting pipeline, at 40 dB or better."""
    model = engine.model
    pipeline_class: Any = Flux2KleinInpaintPipeline
    pipe = pipeline_class(**model.pipe.components, is_distilled=True)
    pipe.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        theirs = pipe(
            prompt="a red house",
            image=noise_image(),
            mask_image=mask_image(),
            strength=strength,
            num_inference_steps=4,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="np",
        ).images[0]
        inputs = prepare_inputs(model, [order(strength=strength)], [noise_image()], mask_image())
        with StepReporter(lambda _step: None, None) as reporter:
            ours = to_image_array(generate_pixels(model, inputs, [7], reporter)[0])

    assert psnr(ours, (theirs * 255).round()) >= 40


def test_pixels_outside_the_mask_stay(engine):
    """What is outside the mask keeps every pixel, and what is inside changes."""
    image = generate(engine)

    assert (outside(image) == outside(noise_image())).all()
    assert psnr(inside(image), inside(noise_image())) < 30


def test_scaled_model_keeps_pixels(scaled_engine):
    """A model that draws small keeps the pixels of the large image, too."""
    size, box = (512, 400), (256, 200, 512, 400)
    image = generate(
        scaled_engine,
        reference_files=(png(noise_image(size)),),
        mask_file=png(mask_image(box, size)),
    )

    assert image.shape == (400, 512, 3)
    assert (outside(image, box) == outside(noise_image(size), box)).all()
    assert psnr(inside(image, box), inside(noise_image(size), box)) < 30


def test_scaled_model_draws_the_masked_part(scaled_engine):
    """A model that draws small draws what is in the mask as an image of its own, and says so. Previews show the whole."""
    previews: list[Any] = []
    size, box = (512, 400), (0, 200, 200, 400)
    result = scaled_engine.generate(
        order(reference_files=(png(noise_image(size)),), mask_file=png(mask_image(box, size))),
        lambda _k, _n: None,
        previews.append,
    )

    assert result.images[0].shape == (400, 512, 3)
    assert result.notes == (PART_NOTE,)
    small = noise_image(size).resize((256, 200), Image.Resampling.LANCZOS)
    assert [preview.shape for preview in previews] == [(200, 256, 3)] * 3
    for preview in previews:
        assert psnr(preview[:96, 110:], np.asarray(small)[:96, 110:]) >= 40


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 110, 120), (10, 20, 110, 120)),
        ((0, 0, 200, 10), (0, 0, 200, 100)),
        ((190, 100, 200, 300), (145, 100, 245, 300)),
        ((290, 290, 300, 300), (236, 236, 300, 300)),
    ],
)
def test_box_around_a_mask(box, expected):
    """The box holds the mask, is neither too small nor too narrow, and stays in the image."""
    assert box_around(mask_image(box, (300, 300)), 64) == expected


def test_mask_of_another_size(engine):
    """A mask of another size is resized to the image."""
    small = generate(engine, mask_file=png(mask_image((32, 16, 64, 48), (64, 48))))

    assert (small == generate(engine)).all()


def test_grey_blends(engine):
    """A grey mask gives an image between the original and the redrawn one."""
    grey = generate(engine, mask_file=png(mask_image(level=128)))
    redrawn, original = inside(generate(engine)), inside(noise_image())

    assert psnr(inside(grey), original) > psnr(redrawn, original)
    assert (outside(grey) == outside(noise_image())).all()


def test_other_size_of_output(engine):
    """With a size of another aspect ratio, image and mask are cropped alike."""
    image = generate(engine, width=96, height=96)
    expected = np.asarray(noise_image())[:, 16:112]

    assert (image[:32] == expected[:32]).all()
    assert (image[32:, :48] == expected[32:, :48]).all()
    assert psnr(image[40:, 56:], expected[40:, 56:]) < 30


def test_same_order_gives_same_pixels(engine):
    """The same seed gives the same pixels, alone and among others, and another seed gives others."""
    alone = generate(engine)
    together = engine.generate(order(seeds=(6, 7)), lambda _k, _n: None).images

    assert (alone == generate(engine)).all()
    assert (alone == together[1]).all()
    assert not (alone == together[0]).all()


def test_denoising_starts_from_the_image(engine):
    """With a strength of 0.5, the first latents are the image with the noise of the third of four steps."""
    pipe = engine.model.pipe
    clean = torch.randn(1, 8, 6, 8, generator=torch.Generator().manual_seed(1))
    start = Start(clean=clean, weights=None, steps=4, first_step=first_step_of(4, 0.5))
    pipe.scheduler.set_timesteps(
        sigmas=np.linspace(1, 0.25, 4), mu=compute_empirical_mu(6 * 8, num_steps=4)
    )
    sigma = pipe.scheduler.sigmas[2]
    noise = torch.randn(clean.shape, generator=torch.Generator("cpu").manual_seed(7))

    begun = start.begin(pipe, [torch.Generator("cpu").manual_seed(7)]).pipeline_kwargs["latents"]

    assert 0 < sigma < 1
    assert torch.allclose(begun, (1 - sigma) * clean + sigma * noise)


def test_strength_changes_the_image(engine):
    """Another strength gives another image, also without a mask."""
    weak, strong = (generate(engine, mask_file=b"", strength=s) for s in (0.5, 1.0))

    assert not (weak == strong).all()


def test_full_strength_without_mask_is_a_plain_edit(engine):
    """A strength of 1 changes nothing about an edit without a mask."""
    plain = Order(
        prompt="a red house",
        width=None,
        height=None,
        steps=4,
        guidance=1.0,
        seeds=(7,),
        reference_files=(png(noise_image()),),
    )

    assert (
        generate(engine, mask_file=b"", strength=1.0)
        == engine.generate(plain, lambda _k, _n: None).images[0]
    ).all()


def test_steps_that_strength_leaves_out_are_not_counted(engine):
    """Progress counts the steps that are done."""
    reported: list[tuple[int, int]] = []
    engine.generate(order(strength=0.5, seeds=(1, 2)), lambda k, n: reported.append((k, n)))

    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_previews_show_the_image_outside_the_mask(engine):
    """A preview shows the original outside the mask."""
    previews: list[Any] = []
    engine.generate(order(), lambda _k, _n: None, previews.append)

    assert len(previews) == 3
    for preview in previews:
        assert psnr(outside(preview), outside(noise_image())) >= 40


def test_second_reference_and_mask(engine):
    """The mask applies to the first image, and a second one still changes the result."""
    one, two = (
        generate(engine, reference_files=(png(noise_image()), *more))
        for more in ((), (png(Image.new("RGB", SIZE, (255, 0, 0))),))
    )

    assert (outside(one) == outside(two)).all()
    assert not (inside(one) == inside(two)).all()


@pytest.mark.parametrize(
    ("steps", "strength", "first"),
    [(4, 1.0, 0), (4, 0.75, 1), (4, 0.6, 1), (4, 0.5, 2), (4, 0.01, 3), (28, 0.3, 19), (1, 0.1, 0)],
)
def test_first_step(steps, strength, first):
    """A strength leaves out as many steps as in diffusers, but never all."""
    assert first_step_of(steps, strength) == first
    assert first_step_of(steps, 1e-20) == steps - 1


def test_token_is_redrawn_if_the_mask_touches_it():
    """The weight of a token is that of the lightest pixel of the mask in it."""
    mask = Image.new("L", (48, 32))
    mask.putpixel((17, 31), 255)
    mask.putpixel((47, 0), 51)

    assert token_weights(mask, 16) == pytest.approx(np.array([[0, 0, 0.2], [0, 1, 0]]))


def test_restored_edge_fades_in():
    """The redrawn part fades in within the mask, and nothing outside changes."""
    white = np.full((64, 64, 3), 255, np.uint8)
    mask = mask_image((32, 0, 64, 64), (64, 64))
    black = Image.new("RGB", (64, 64))
    original = Original(image=black, mask=mask, box=(0, 0, 64, 64))
    restored = original.restore(white)[32, :, 0]

    assert (restored[:32] == 0).all()
    assert (np.diff(restored[32:].astype(int)) >= 0).all()
    assert 100 < restored[32] < 250
    assert (restored[42:] == 255).all()

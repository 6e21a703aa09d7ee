"""The coupling of noise and pictures."""

import random

import pytest
import torch
from diffusers import AutoencoderKLFlux2

from worker.weights.locate import BUILT_IN
from worker.weights.recipe.coupling import coupled_pictures, read
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.transformer import OTHER_CANVASES
from worker.weights.recipe.world import Canvas, Picture, Sampler, marks, settle


@pytest.fixture(scope="module")
def encoder():
    autoencoder = AutoencoderKLFlux2.from_pretrained(BUILT_IN / "vae")
    return Encoder(
        autoencoder=autoencoder.eval().requires_grad_(False),
        tokenizer=new_tokenizer(sentences=200),
        device=torch.device("cpu"),
        precision=torch.float32,
    )


def noise_of(canvas: Canvas) -> torch.Tensor:
    size = (1, 32, canvas.height // 16, canvas.width // 16)
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def test_numbers_are_evenly_spread_and_independent():
    """Over many noises, each number is spread over 0 to 1 as chance spreads it, and none tells of another."""
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(3, 500, generator=generator)
    changes[1] += changes[0]  # a thing that moves and one that grows change some of the same pixels
    numbers = torch.tensor(
        [read(changes, torch.randn(500, generator=generator)) for _ in range(2000)]
    )

    assert 0 <= numbers.min() < numbers.max() <= 1
    torch.testing.assert_close(numbers.mean(0), torch.full((3,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(numbers.T), torch.eye(3) / 12, atol=0.01, rtol=0)


@pytest.mark.parametrize(("canvas", "count"), [(Canvas(), 1), (OTHER_CANVASES[0], 2)])
def test_noise_that_looks_like_a_thing_elsewhere_puts_it_there(encoder, canvas, count):
    """Noise with a trace of the picture with things further right and lower leads to such a picture."""
    scene, noise = Sampler(random.Random(count)).scene(count), noise_of(canvas)

    def moved(by: int) -> Picture:
        spots = [
            settle(mark, canvas, x=mark.x + by, y=mark.y + by, diameter=mark.diameter)
            for mark in marks(scene, canvas)
        ]
        return Picture(scene=scene, spots=tuple(spots), canvas=canvas)

    trace = torch.diff(encoder.latents([moved(-3), moved(3)]), dim=0)
    (before,), (after,) = (
        coupled_pictures(encoder, [scene], canvas, traced)
        for traced in (noise - trace / 10, noise + trace / 10)
    )

    def sums(picture: Picture) -> tuple[float, float]:
        return sum(spot.x for spot in picture.spots), sum(spot.y for spot in picture.spots)

    assert sums(before)[0] < sums(after)[0]
    assert sums(before)[1] < sums(after)[1]


def test_a_scene_without_things_has_one_picture(encoder):
    """Nothing is read if nothing can move."""
    scene = Sampler(random.Random(1)).scene(0)
    picture = Picture(scene=scene, spots=(), canvas=Canvas())

    assert coupled_pictures(encoder, [scene], Canvas(), noise_of(Canvas())) == [picture]

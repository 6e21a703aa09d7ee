"""Couples noise with pictures: the noise decides where things stand and how large they are.

It is read along those directions in which the picture itself changes when a thing moves or grows. So a noise that
looks a little like a thing further left becomes a thing further left: what a model that removes noise does anyway.
A path from noise to picture is then straight, its end is known before it is drawn, and places and sizes vary as in
the world.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.world import Canvas, Picture, Scene, lay_out

NUMBERS = 3  # of a thing: its diameter and its place


def coupled_pictures(
    encoder: Encoder, scenes: list[Scene], canvas: Canvas, noises: Tensor
) -> list[Picture]:
    """Return for each scene the picture that belongs to its noise `[channels, rows, columns]`."""
    return [
        _coupled_picture(encoder, scene, canvas, noise)
        for scene, noise in zip(scenes, noises, strict=True)
    ]


def _coupled_picture(encoder: Encoder, scene: Scene, canvas: Canvas, noise: Tensor) -> Picture:
    shares: list[float] = []
    if scene.things:
        ends = encoder.latents(_ends(scene, canvas)).flatten(1)
        shares = read(ends[1::2] - ends[::2], noise)
    return lay_out(scene, canvas, _Given(shares=shares))


def read(changes: Tensor, noise: Tensor) -> list[float]:
    """Read numbers from 0 to 1 off noise, each evenly spread, along changes `[numbers, values]` of a picture."""
    directions, triangle = torch.linalg.qr(changes.T)
    directions = directions * triangle.diagonal().sign()
    numbers: list[float] = torch.special.ndtr(directions.T @ noise.flatten()).tolist()
    return numbers


def _ends(scene: Scene, canvas: Canvas) -> list[Picture]:
    """Return two pictures for each number: with it at its lowest and its highest, the others in the middle."""
    numbers = NUMBERS * len(scene.things)
    return [
        lay_out(scene, canvas, _Given(shares=[end if i == number else 0.5 for i in range(numbers)]))
        for number in range(numbers)
        for end in (0.0, 1.0)
    ]


@dataclass(slots=True, kw_only=True)
class _Given:
    """Gives chosen numbers, where else chance gives them."""

    shares: list[float]
    given: int = field(default=0, init=False)

    def uniform(self, low: float, high: float) -> float:
        self.given += 1
        return low + (high - low) * self.shares[self.given - 1]

"""Finds the ideal picture that is nearest to a drawn one of the same scene."""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from worker.weights.recipe.draw import stencil
from worker.weights.recipe.overlap import coverages, moments
from worker.weights.recipe.world import (
    Canvas,
    Picture,
    Shape,
    Spot,
    Thing,
    marks,
    settle,
)

Array = NDArray[np.float64]
PLAUSIBLE = (0.6, 1.5)  # of the nominal area; beyond it the thing was not drawn
SEARCH_PX = (-1, 0, 1)


def nearest_picture(wanted: Picture, pixels: NDArray[np.uint8]) -> Picture:
    """Return the picture without a flaw, its things where and as large as in `pixels`.

    A thing that `pixels` does not show keeps its spot.
    """
    scene, canvas = wanted.scene, wanted.canvas
    covers = coverages(scene, pixels.astype(np.float64), canvas)
    spots = tuple(
        _fit(thing, cover, mark, canvas) or spot
        for thing, cover, mark, spot in zip(
            scene.things, covers, marks(scene, canvas), wanted.spots, strict=True
        )
    )
    return replace(wanted, spots=spots)


def _fit(thing: Thing, cover: Array, mark: Spot, canvas: Canvas) -> Spot | None:
    unit, across, along = moments(thing.shape)
    area = float(cover.sum())
    if not PLAUSIBLE[0] <= area / (unit * mark.diameter**2) <= PLAUSIBLE[1]:
        return None
    diameter = (area / unit) ** 0.5
    rows, columns = np.indices(cover.shape)
    x = float((cover * (columns + 0.5)).sum()) / area - across * diameter
    y = float((cover * (rows + 0.5)).sum()) / area - along * diameter
    candidates = {
        settle(mark, canvas, x=round(x) + right, y=round(y) + down, diameter=diameter + 2 * more)
        for right, down, more in product(SEARCH_PX, SEARCH_PX, SEARCH_PX)
    }
    return min(candidates, key=lambda spot: _difference(thing.shape, cover, spot))


@cache
def _ideal(shape: Shape, diameter: int) -> Array:
    return np.asarray(stencil(shape, diameter), dtype=np.float64) / 255


def _difference(shape: Shape, cover: Array, spot: Spot) -> float:
    """Return the squared difference of a cover and an ideal thing, less what is the same for all."""
    ideal = _ideal(shape, round(spot.diameter))
    left, top = round(spot.x - spot.diameter / 2), round(spot.y - spot.diameter / 2)
    under = cover[top : top + len(ideal), left : left + len(ideal)]
    return float((ideal * ideal).sum() - 2 * (ideal * under).sum())

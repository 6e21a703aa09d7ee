"""Defines what a reader of an API key's history gets: a numbered page, or some predictions and where to continue."""

from dataclasses import dataclass

from app.predictions.prediction import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a key's predictions, newest first, and how many there are in all."""

    predictions: list[Prediction]
    total: int
    is_capped: bool  # more may match than `total` says


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The place in a key's history behind one prediction."""

    created_ms: int
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPage:
    """Some of the matching predictions, and where to continue. `rest` is None if there are no more."""

    predictions: list[Prediction]
    rest: Position | None

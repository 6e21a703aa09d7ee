"""Defines a page of an API key's history."""

from dataclasses import dataclass

from app.predictions.prediction import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a key's predictions, newest first, and how many there are in all."""

    predictions: list[Prediction]
    total: int
    is_capped: bool  # more may match than `total` says

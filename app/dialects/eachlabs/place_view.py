"""Renders the place of a prediction in the queue, as a body and as headers. Does no I/O."""

from datetime import timedelta
from typing import Any

from app.predictions.place import Place


def place_body(place: Place | None) -> dict[str, Any]:
    """Render a place. None means the prediction neither waits nor runs."""
    ahead = place.ahead if place else None
    return {
        "position": None if ahead is None else ahead + 1,
        "expected_wait_s": _seconds(place.expected_wait) if place else None,
        "expected_end_s": _seconds(place.expected_end) if place else None,
    }


def place_headers(place: Place | None) -> dict[str, str]:
    """Render a place for the response to a create, without what is not known."""
    names = {
        "position": "X-Queue-Position",
        "expected_wait_s": "X-Expected-Wait",
        "expected_end_s": "X-Expected-End",
    }
    body = place_body(place)
    return {names[name]: str(value) for name, value in body.items() if value is not None}


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 2)

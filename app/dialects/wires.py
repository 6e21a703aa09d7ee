"""In whose words a webhook is written: those of the dialect that the prediction came in."""

from collections.abc import Callable

from app.dialects.eachlabs import webhook as eachlabs
from app.dialects.pictures import Pictures, Show
from app.dialects.replicate import wire as replicate
from app.predictions.prediction import Prediction

WIRES: dict[str, Callable[[Prediction, Pictures, Show], bytes]] = {
    "eachlabs": lambda prediction, _, show: eachlabs.body_of(prediction, show),
    "replicate": replicate.webhook_body,
}


def webhook_body(prediction: Prediction, pictures: Pictures, show: Show) -> bytes:
    """Write what the receiver of a final prediction gets; the same prediction gives the same bytes."""
    assert prediction.webhook is not None  # noqa: S101 -- only such are delivered
    return WIRES[prediction.webhook.dialect](prediction, pictures, show)

"""One claimed run of a prediction through the engine."""

from dataclasses import dataclass, field
from threading import Event

from app.predictions.prediction import Prediction
from worker.engines import Picture

AHEAD_S = 0.1
"""How long before the estimated end of an attempt the next prediction is claimed, so that the engine does not wait."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A claimed prediction, its owner token, and how far the engine has got."""

    prediction: Prediction
    owner: str
    is_nearly_done: Event = field(default_factory=Event)
    is_batched: bool = False  # drawn in one call with others
    started_s: float = 0.0
    recorded_s: float = 0.0  # when its progress was last written
    preview: Picture | None = None  # not yet written

    def is_near_end(self, step: int, steps: int, now_s: float) -> bool:
        """Estimate from the steps so far whether at most AHEAD_S is left."""
        return (now_s - self.started_s) / step * (steps - step) <= AHEAD_S

    def keep_preview(self, preview: Picture) -> None:
        """Keep the newest preview until a step is recorded."""
        self.preview = preview

"""An attempt: one claimed run of a prediction through the engine."""

from dataclasses import dataclass, field
from threading import Event

from app.predictions.prediction import Prediction
from worker.engines import ImageArray

AHEAD_S = 0.1
"""How long before the estimated end of an attempt the next prediction is claimed, to keep the engine busy."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Holds a claimed prediction, the owner of its lease, and the progress of the engine."""

    prediction: Prediction
    owner: str
    is_nearly_done: Event = field(default_factory=Event)
    is_batched: bool = False  # in one call of the model with others
    started_s: float = 0.0
    recorded_s: float = 0.0  # when its progress was last stored
    preview: ImageArray | None = None  # not stored yet

    def is_near_end(self, step: int, steps: int, now_s: float) -> bool:
        """Estimate from the steps so far whether the rest takes at most AHEAD_S."""
        return (now_s - self.started_s) / step * (steps - step) <= AHEAD_S

    def keep_preview(self, preview: ImageArray) -> None:
        """Keep the latest preview until the next step is stored."""
        self.preview = preview

"""An attempt: one claimed run of a prediction through the engine."""

import os
import time
from dataclasses import dataclass, field

from app.predictions.prediction import Prediction
from worker.engines import ImageArray
from worker.job.latch import Latch
from worker.job.leases import Lease

AHEAD_S = 0.1
"""How long before the estimated end of an attempt the next prediction is claimed, to keep the engine busy."""


def new_owner() -> str:
    """Return the owner of a new attempt, which no other attempt has."""
    return os.urandom(8).hex()


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Holds the lease of a claimed prediction and the progress of the engine."""

    lease: Lease
    is_nearly_done: Latch = field(default_factory=Latch)
    waits_for_start: bool = False  # of the engine, as its record says
    is_batched: bool = False  # in one call of the model with others
    claimed_s: float = field(default_factory=time.monotonic)
    started_s: float = 0.0
    recorded_s: float = 0.0  # when its progress was last stored
    preview: ImageArray | None = None  # not stored yet

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was claimed."""
        return self.lease.prediction

    @property
    def owner(self) -> str:
        """The owner of its lease."""
        return self.lease.owner

    def is_near_end(self, step: int, steps: int, now_s: float) -> bool:
        """Estimate from the steps so far whether the rest takes at most AHEAD_S."""
        return (now_s - self.started_s) / step * (steps - step) <= AHEAD_S

    def keep_preview(self, preview: ImageArray) -> None:
        """Keep the latest preview until the next step is stored."""
        self.preview = preview

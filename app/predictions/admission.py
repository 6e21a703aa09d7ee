"""Who may create now: the limits of the asking key, beside those of the whole server."""

from collections.abc import Callable
from dataclasses import dataclass

from app.predictions.accounts import Limits, Terms
from app.predictions.rates import Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The limits that every create meets."""

    rates: Rates
    limits_of: Callable[[str], Limits]  # by the id of a key
    queue_limit: int | None

    def count(self, key_id: str) -> None:
        """Count one create of a key. Raises TooManyRequests."""
        self.rates.count(key_id, self.limits_of(key_id).per_minute)

    def terms(self, key_id: str, cost: float) -> Terms:
        """Tell on which terms a prediction of a key that may cost so many dollars is accepted."""
        return Terms(limits=self.limits_of(key_id), queue_limit=self.queue_limit, cost=cost)

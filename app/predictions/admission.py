"""Applies the limits of a key and of the whole server to each create."""

from collections.abc import Callable
from dataclasses import dataclass

from app.predictions.accounts import Limits, Terms
from app.predictions.open_deliveries import OpenDeliveries
from app.predictions.rates import Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The limits of creates."""

    rates: Rates
    limits_of: Callable[[str], Limits]  # by the id of a key
    queue_limit: int | None
    deliveries: OpenDeliveries

    def count(self, key_id: str, *, has_webhook: bool) -> None:
        """Count one create of a key. Raises TooManyRequests."""
        self.rates.count(key_id, self.limits_of(key_id).per_minute)
        if has_webhook:
            self.deliveries.check(key_id)

    def counts(self, key_id: str) -> bool:
        """Return whether the creates of a key are counted."""
        return self.limits_of(key_id).per_minute is not None

    def terms(self, key_id: str, cost: float) -> Terms:
        """Return the terms for a prediction of a key with this maximum cost (dollars)."""
        return Terms(limits=self.limits_of(key_id), queue_limit=self.queue_limit, cost=cost)

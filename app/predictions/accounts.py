"""Limits what each API key may have in flight and spend. The scripts that change records count both.

Redis keys: `klein:held:{key}` holds the maximum cost of each open prediction, `klein:spent:{key}` the cost of successful ones by
month, in its field `reserved` the sum of those that are held, if a budget was checked, and what `usage` counts. Amounts are nanodollars. The maximum cost of a prediction is held until its end. The script that makes it
a success charges the cost, so a repeated call counts once. Failures and cancels cost nothing.
"""

import math
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Self

from app.predictions.catalog import price
from app.predictions.errors import BudgetSpent, KleinError, TooManyRequests
from app.predictions.parameters import Parameters
from app.predictions.prediction import Prediction
from app.predictions.sizes import PIXELS_MAX

NANODOLLARS = 1_000_000_000
RETRY_MOST_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one key. None means no limit."""

    in_flight: int | None = None  # predictions that have not ended
    per_minute: int | None = None  # creates
    dollars_per_month: float | None = None
    uploads: int | None = None  # files
    upload_bytes: int | None = None  # of all files

    def with_defaults(self, default: Self) -> Self:
        """Fill limits that are None from the default."""
        names = [f.name for f in fields(self)]
        limits = {n: getattr(self, n) for n in names}
        return type(self)(**{n: getattr(default, n) if v is None else v for n, v in limits.items()})


class Refusal(StrEnum):
    """The limit that refused a prediction."""

    QUEUE = "queue"
    IN_FLIGHT = "in_flight"
    SHARE = "share"
    BUDGET = "budget"


def held_key(key_id: str) -> str:
    """Return the Redis key of the held costs of an API key."""
    return f"klein:held:{key_id}"


def spent_key(key_id: str) -> str:
    """Return the Redis key of the costs of an API key by month."""
    return f"klein:spent:{key_id}"


def month_of(at: datetime) -> str:
    """Return the month that a charge counts for."""
    return f"{at:%Y-%m}"


def nanodollars(dollars: float) -> int:
    """Convert dollars to nanodollars."""
    return round(dollars * NANODOLLARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The limits and the maximum cost under which one prediction is accepted."""

    limits: Limits = Limits()
    queue_limit: int | None = None
    cost: float = 0.0  # the maximum cost, in dollars

    def script_arguments(self, now: datetime) -> dict[str, str | int | None]:
        """Return the arguments of the Lua function `refusal`, by name."""
        budget = self.limits.dollars_per_month
        return {
            "month": month_of(now),
            "cost": nanodollars(self.cost),
            "queue_limit": self.queue_limit,
            "in_flight_limit": self.limits.in_flight,
            "budget": None if budget is None else nanodollars(budget),
        }


UNLIMITED = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The predictions in flight of a key, its spending this month, and its uploads."""

    in_flight: int
    spent_dollars: float
    uploads: int
    upload_bytes: int


def cost_of(prediction: Prediction) -> float:
    """Return the cost of a prediction in dollars. Only a success costs."""
    return price([(output.width, output.height) for output in prediction.outputs])


def max_cost(parameters: Parameters, reference_size: tuple[int, int] | None) -> float:
    """Return the most that a request can cost, in dollars.

    `reference_size` is that of the first reference image in pixels, which an edit without a size follows.
    """
    width, height = parameters.width, parameters.height
    if width is None or height is None:
        width, height = reference_size or (0, 0)
    return price([(min(width * height, PIXELS_MAX), 1)] * len(parameters.seeds))


def refusal_error(refusal: Refusal, limits: Limits, now: datetime, per_second: float) -> KleinError:
    """Return the error for a refusal, with a wait from the rate at which predictions end (`per_second`)."""
    if refusal is Refusal.BUDGET:
        message = f"the key's budget of ${limits.dollars_per_month:g} a month is spent or reserved"
        return BudgetSpent(message, retry_after_s=_until_next_month(now))
    wait_s = min(math.ceil(1 / per_second), RETRY_MOST_S) if per_second else RETRY_MOST_S
    reasons = {
        Refusal.QUEUE: "the queue is full",
        Refusal.SHARE: "the key has as many unfinished predictions as it may: half of what other keys leave of the queue",
        Refusal.IN_FLIGHT: f"the key has reached its limit of {limits.in_flight} unfinished predictions",
    }
    return TooManyRequests(f"{reasons[refusal]}; send it again later", retry_after_s=wait_s)


def _until_next_month(now: datetime) -> int:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=now.year + now.month // 12, month=now.month % 12 + 1)
    return math.ceil((following - now).total_seconds())

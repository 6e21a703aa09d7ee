"""Keeps the due deliveries in lines, so that one API key's do not delay another's.

Each key has a line for each host that its URLs name. The keys take turns, and the hosts of a key take turns. Redis keys:
`klein:webhooks:line:{key}:{host}` holds ids by arrival, `klein:webhooks:hosts:{key}` a key's hosts by turn,
`klein:webhooks:turns` the keys by turn, `klein:webhooks:arrivals` the number of the latest arrival or turn.

`klein:webhooks:due` keeps every id until its delivery ends: a klein without lines reads only that, and what it plans
there joins the lines when it is due.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

import redis

from app.lua.script import execute, load_script
from app.predictions.prediction import Prediction
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import WEBHOOKS_DUE

LEASE = timedelta(seconds=60)  # longer than one attempt
LINE_CHECK = timedelta(minutes=5)  # until a delivery in line is looked at again
TURNS = "klein:webhooks:turns"
ARRIVALS = "klein:webhooks:arrivals"
_HOSTS = "klein:webhooks:hosts:"
_LINE = "klein:webhooks:line:"
_JOIN = load_script("join_delivery_line")
_TAKE = load_script("take_delivery")
_NEXT = load_script("next_delivery")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenDelivery:
    """A delivery that was taken out of its line."""

    id: str  # the prediction's
    key_id: str
    host: str  # as its URL names it

    @property
    def line(self) -> str:
        """Return the name of its line among those that are busy."""
        return f"{self.key_id} {self.host}"


class DeliveryLines:
    """Orders the due deliveries. Safe for any number of threads and processes."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection

    def join(self, predictions: Iterable[Prediction]) -> None:
        """Put the deliveries of predictions into their lines."""
        pipe = self._redis.pipeline(transaction=False)
        for prediction in predictions:
            key_id, host = prediction.key_id, _host_of(prediction)
            _JOIN(
                pipe,
                due=WEBHOOKS_DUE,
                turns=TURNS,
                hosts=_HOSTS + key_id,
                line=f"{_LINE}{key_id}:{host}",
                arrivals=ARRIVALS,
                id=prediction.id,
                key_id=key_id,
                host=host,
                check_ms=round(LINE_CHECK.total_seconds() * 1000),
            )
        with redis_errors():
            execute(pipe)

    def next_due(self) -> timedelta | None:
        """Return in what time the next delivery is due, zero if one waits in line. None means that there is none."""
        with redis_errors():
            due_ms = cast("int | None", _NEXT(self._redis, due=WEBHOOKS_DUE, turns=TURNS))
        return None if due_ms is None else timedelta(milliseconds=due_ms)

    def take(self, busy: Iterable[str] = ()) -> TakenDelivery | None:
        """Take the next delivery for LEASE, but none of the keys and lines that are `busy`."""
        with redis_errors():
            taken = _TAKE(
                self._redis,
                turns=TURNS,
                arrivals=ARRIVALS,
                due=WEBHOOKS_DUE,
                hosts_prefix=_HOSTS,
                line_prefix=_LINE,
                busy=json.dumps(list(busy)),
                lease_ms=round(LEASE.total_seconds() * 1000),
            )
        if taken is None:
            return None
        key_id, host, prediction_id = (part.decode() for part in taken)
        return TakenDelivery(id=prediction_id, key_id=key_id, host=host)


def _host_of(prediction: Prediction) -> str:
    assert prediction.webhook is not None  # noqa: S101 -- only predictions with a webhook are in the outbox
    return urlsplit(prediction.webhook.url).netloc.lower()

"""Reads the history of an API key: its predictions, newest first, as numbered pages or onwards from a position."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, cast

import redis

from app.predictions.clock import to_ms
from app.predictions.page import CursorPage, Page, Position
from app.predictions.prediction import Prediction
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import history_key
from app.predictions.store import Store

MAX_READ = 10_000
"""How many records a filtered page may read."""
MAX_SEARCHED = 5_000
"""How many records a search may read."""
PART = 100
"""How many records are read at once, at most."""
MAX_READ_CHARACTERS = 4_000_000
"""How long the prompts may be together that a filtered page or a search reads."""

_TEXTS = ("prompt", "negative_prompt")

Matches = Callable[[Prediction], bool]
IdsFrom = Callable[[int, int], list[str]]
"""Lists this many ids from this place on."""


class _Budget:
    """Counts what one request reads."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._characters = MAX_READ_CHARACTERS

    def covers(self, prediction: Prediction) -> bool:
        """Count a record; False where it is too many."""
        self._records -= 1
        self._characters -= sum(len(str(prediction.input.get(name, ""))) for name in _TEXTS)
        return self._records >= 0 and self._characters >= 0


class History:
    """Reads the predictions of a key, and no more records than it needs."""

    def __init__(self, connection: "redis.Redis", store: Store, max_read: int = MAX_READ) -> None:
        self._redis = connection
        self._store = store
        self._max_read = max_read

    def page(  # noqa: PLR0913 -- one argument a filter
        self,
        key_id: str,
        *,
        since: datetime,
        until: datetime,
        offset: int,
        limit: int,
        matches: Matches | None = None,
    ) -> Page:
        """Return a page of the key's predictions. Raises Unavailable.

        `total` counts all of them between `since` and `until`, or those of the newest MAX_READ that match, of fewer if
        their prompts are long.
        """
        first, last = to_ms(until), to_ms(since)
        if matches is None:
            with redis_errors():
                total = self._redis.zcount(history_key(key_id), last, first)
            ids = self._ids(key_id, first, last, byscore=True, offset=offset, num=limit)
            predictions = list(self._store.read_all(ids))
            return Page(predictions=predictions, total=total, is_capped=False)
        count = self._max_read + 1
        ids = self._ids(key_id, first, last, byscore=True, offset=0, num=count)

        def ids_from(place: int, count: int) -> list[str]:
            return ids[place : place + count]

        predictions, total = [], 0
        budget = _Budget(self._max_read)
        for prediction in self._walk(ids_from, PART):
            if not budget.covers(prediction):
                return Page(predictions=predictions, total=total, is_capped=True)
            if matches(prediction):
                if offset <= total < offset + limit:
                    predictions.append(prediction)
                total += 1
        return Page(predictions=predictions, total=total, is_capped=False)

    def find(
        self,
        key_id: str,
        *,
        matches: Matches,
        after: Position | None,
        limit: int,
        max_read: int = MAX_SEARCHED,
    ) -> CursorPage:
        """Return up to `limit` matching predictions from behind `after`.

        Reads at most `max_read` records, and fewer if their prompts are long. There may be fewer predictions than
        `limit`, and still a rest. Raises
        Unavailable.
        """
        start = self._rank_behind(key_id, after)

        def ids_from(place: int, count: int) -> list[str]:
            return self._ids(key_id, start + place, start + place + count - 1)

        predictions: list[Prediction] = []
        budget = _Budget(max_read)
        for prediction in self._walk(ids_from, limit + 1):
            if not budget.covers(prediction):
                return CursorPage(predictions=predictions, rest=after)
            if matches(prediction):
                if len(predictions) == limit:
                    return CursorPage(predictions=predictions, rest=_behind(predictions[-1]))
                predictions.append(prediction)
            after = _behind(prediction)
        return CursorPage(predictions=predictions, rest=None)

    def _walk(self, ids_from: IdsFrom, first: int) -> Iterator[Prediction]:
        """Read on to the end: `first` records at once, then twice as many, up to PART."""
        place, count = 0, first
        while True:
            count = min(count, PART)
            ids = ids_from(place, count)
            yield from self._store.read_all(ids)
            if len(ids) < count:
                return
            place += count
            count *= 2

    def _ids(self, key_id: str, first: int, last: int, **options: Any) -> list[str]:
        with redis_errors():
            ids = self._redis.zrange(history_key(key_id), first, last, desc=True, **options)
        return [i.decode() for i in cast("list[bytes]", ids)]

    def _rank_behind(self, key_id: str, after: Position | None) -> int:
        if after is None:
            return 0
        with redis_errors():
            rank = self._redis.zrevrank(history_key(key_id), after.id)
            if rank is not None:
                return cast("int", rank) + 1
            # it was deleted meanwhile: continue with what is not newer
            return self._redis.zcount(history_key(key_id), f"({after.created_ms}", "+inf")


def _behind(prediction: Prediction) -> Position:
    return Position(created_ms=to_ms(prediction.created_at), id=prediction.id)

"""Reads the records of predictions."""

from collections.abc import Iterator
from typing import Any, cast

import redis

from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.due_ids import DueIds
from app.predictions.errors import UnknownPrediction
from app.predictions.prediction import Prediction
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import record_key
from app.records import Records

RECORDS = Records(Prediction, is_known=lambda prediction: prediction.model in MODELS)


def decode(record: bytes | None, prediction_id: str) -> Prediction:
    """Decode a record. Raises UnknownPrediction for None, or UnreadableRecord."""
    if record is None:
        raise UnknownPrediction(prediction_id)
    return RECORDS.read(record)


class RecordReader(DueIds):
    """Reads records. Safe for any number of threads and processes."""

    def __init__(self, connection: "redis.Redis", queues: Queues) -> None:
        super().__init__(connection)
        self._queues = queues

    def get(self, prediction_id: str) -> Prediction:
        """Read a record. Raises UnknownPrediction."""
        with redis_errors():
            record = self._redis.get(record_key(prediction_id))
        return decode(cast("bytes | None", record), prediction_id)

    def read_outlook(
        self, kind: CheckpointKind, limit: int
    ) -> tuple[list[bytes], list[Prediction], int, list[Prediction]]:
        """Read the encoded samples of recent predictions, up to `limit` that would be taken next, how many wait, and up to `limit` that are checked soon."""
        with redis_errors():
            samples, waiting, count, soon = self._queues.read_outlook(kind, limit)
        return (
            samples,
            list(RECORDS.read_each(waiting)),
            count,
            list(RECORDS.read_each(soon)),
        )

    def read_all(self, ids: list[str]) -> Iterator[Prediction]:
        """Read many records. Skip missing and unreadable ones."""
        if not ids:
            return
        with redis_errors():
            records = cast("list[Any]", self._redis.mget([record_key(i) for i in ids]))
        yield from RECORDS.read_each(records)

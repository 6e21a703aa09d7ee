"""Ends what a revoked API key has left behind: its unfinished predictions, or all of them."""

from contextlib import suppress
from typing import cast

import redis

from app.predictions.accounts import held_key
from app.predictions.errors import AlreadyFinal, UnknownPrediction, UnreadableRecord
from app.predictions.prediction import Prediction
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import history_key, record_key
from app.predictions.store import Store
from app.storage import Storage

PART = 100


def cancel_all(connection: "redis.Redis", store: Store, key_id: str) -> int:
    """Cancel every unfinished prediction of a key, and return how many there were. Raises Unavailable."""
    with redis_errors():
        ids = cast("list[bytes]", connection.hkeys(held_key(key_id)))
    cancelled = 0
    for prediction_id in ids:
        with suppress(AlreadyFinal, UnknownPrediction, UnreadableRecord):
            store.change(prediction_id.decode(), Prediction.cancel)
            cancelled += 1
    return cancelled


def delete_all(connection: "redis.Redis", store: Store, storage: Storage, key_id: str) -> int:
    """Delete every ended prediction of a key with its files, and return how many. Raises Unavailable or StorageError."""
    deleted = 0
    while True:
        with redis_errors():
            ids = cast("list[bytes]", connection.zrange(history_key(key_id), 0, PART - 1))
        for prediction_id in (i.decode() for i in ids):
            storage.delete(prediction_id)
            try:
                store.delete(store.get(prediction_id))
                deleted += 1
            except (UnknownPrediction, UnreadableRecord):
                with redis_errors():
                    connection.delete(record_key(prediction_id))
                    connection.zrem(history_key(key_id), prediction_id)
        if len(ids) < PART:
            return deleted

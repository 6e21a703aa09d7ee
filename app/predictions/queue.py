"""Queues predictions: RQ's queues carry tokens that only wake a worker, and lines decide which prediction is next.

Each API key has a line, and the keys take turns, so that one key's backlog does not delay another's. Redis keys:
`klein:line:{kind}:{key}` holds a key's ids by arrival, `klein:turns:{kind}` the keys with a line by turn,
`klein:waiting:{kind}` the ids of all lines by arrival, `klein:samples:{kind}` what the latest successes took (see `speed`), `klein:arrivals` the number of the latest arrival or turn.

A token belongs to no prediction and has no data: there is one for each that waits. A token may be lost or repeated: one too
many finds no prediction, and the reconciler replaces those that are lost. A line may contain ended predictions: the record
decides (see ARCHITECTURE.md).
"""

from datetime import datetime
from typing import NamedTuple, cast

import redis
from redis.client import Pipeline

from app.lua.script import load_script
from app.predictions import scripts
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import to_ms
from app.predictions.due import LINE_CHECK, QUEUE_CHECK
from app.predictions.prediction import Prediction
from app.predictions.redis_keys import CHANGED_CHANNEL, OPEN, record_key
from app.predictions.speed import SAMPLES

TOKEN = "token"  # noqa: S105 -- no secret
"""What all tokens are. Those of klein 0.1 are ids of RQ's jobs."""
ARRIVALS = "klein:arrivals"
_JOIN = load_script("join_line")
_LIST_NEXT = load_script("list_next")
_TAKE_ONE = load_script("take_one")
_LEAVE_LINE = load_script("leave_line")
_FIND_PLACE = load_script("find_place")
_READ_OUTLOOK = load_script("read_outlook")
_KEEP_IN_LINE = load_script("keep_in_line")
_CHECK_MS = round(QUEUE_CHECK.total_seconds() * 1000)
_LINE_CHECK_MS = round(LINE_CHECK.total_seconds() * 1000)


class TakenRecord(NamedTuple):
    """A prediction that was taken out of its line."""

    id: str
    is_claimed: bool
    record: bytes | None  # as it was before the claim


class Queues:
    """One queue of tokens, with its lines, for each checkpoint kind."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection

    def push(self, prediction: Prediction, pipe: "redis.Redis") -> None:
        """Put the prediction in line, with a token."""
        _JOIN(
            pipe,
            **line_keys(prediction),
            id=prediction.id,
            key_id=prediction.key_id,
            is_retry=int(prediction.is_retry),
        )

    def add_tokens(self, kind: CheckpointKind, count: int) -> None:
        """Push this many tokens."""
        if count:
            self._redis.rpush(_tokens(kind), *[TOKEN] * count)

    def missing_tokens(self) -> dict[CheckpointKind, int]:
        """Count for each kind the waiting predictions for which no token is queued. A worker may have just popped it."""
        pipe = self._redis.pipeline()
        for kind in CheckpointKind:
            pipe.zcard(_waiting(kind))
            pipe.llen(_tokens(kind))
        counts = pipe.execute()
        return {
            kind: max(0, waiting - tokens)
            for kind, waiting, tokens in zip(CheckpointKind, counts[::2], counts[1::2], strict=True)
        }

    def take(self, kind: CheckpointKind) -> str | None:
        """Take the next prediction and return its id: keys take turns, each in order of arrival."""
        taken = self.take_record(kind)
        return None if taken is None else taken.id

    def take_record(
        self, kind: CheckpointKind, claim: bytes = b"", lease_until: datetime | None = None
    ) -> TakenRecord | None:
        """Take the next prediction, and read its record. Claim it, if `claim` is the end of its record after a claim."""
        taken = scripts.TAKE_NEXT(
            self._redis,
            turns=_turns(kind),
            waiting=_waiting(kind),
            arrivals=ARRIVALS,
            open=OPEN,
            line_prefix=_line(kind, ""),
            record_prefix=record_key(""),
            claim=claim,
            lease_until_ms=None if lease_until is None else to_ms(lease_until),
            channel=CHANGED_CHANNEL,
            check_ms=_CHECK_MS,
        )
        if taken is None:
            return None
        prediction_id, is_claimed, record = cast("tuple[bytes, int, bytes | None]", taken)
        return TakenRecord(prediction_id.decode(), bool(is_claimed), record)

    def list_next(self, kind: CheckpointKind, limit: int) -> list[str]:
        """List the ids that would be taken next, without taking them."""
        ids = _LIST_NEXT(self._redis, turns=_turns(kind), line_prefix=_line(kind, ""), limit=limit)
        return [i.decode() for i in cast("list[bytes]", ids)]

    def count_ahead(self, prediction: Prediction) -> int | None:
        """Count the predictions that would be taken before this one, or None if it is not in line."""
        return self._find_place(prediction, prediction.id)

    def count_ahead_of_new(self, prediction: Prediction) -> int:
        """Count the predictions that would be taken before this one if it joined its line now."""
        return int(cast("int", self._find_place(prediction, None)))

    def _find_place(self, prediction: Prediction, prediction_id: str | None) -> int | None:
        """Count those before an id in the prediction's line, or all of the line for None."""
        kind = kind_of(prediction)
        ahead = _FIND_PLACE(
            self._redis,
            turns=_turns(kind),
            line=_line(kind, prediction.key_id),
            line_prefix=_line(kind, ""),
            key_id=prediction.key_id,
            id=prediction_id,
        )
        return cast("int | None", ahead)

    def read_outlook(
        self, kind: CheckpointKind, limit: int
    ) -> tuple[list[bytes], list[bytes | None], int, list[bytes | None]]:
        """Read what estimates need, as the script returns it: of records, up to `limit` of each kind."""
        outlook = _READ_OUTLOOK(
            self._redis,
            turns=_turns(kind),
            waiting=_waiting(kind),
            recent=recent_key(kind),
            open=OPEN,
            line_prefix=_line(kind, ""),
            record_prefix=record_key(""),
            limit=limit,
            samples=SAMPLES,
            soon_ms=_CHECK_MS,
        )
        return cast("tuple[list[bytes], list[bytes | None], int, list[bytes | None]]", outlook)

    def take_one(self, prediction: Prediction) -> bool:
        """Take this prediction with a token, as its key's turn. Returns False if it is no longer in line."""
        taken = _TAKE_ONE(
            self._redis,
            **line_keys(prediction),
            open=OPEN,
            key_id=prediction.key_id,
            id=prediction.id,
            check_ms=_CHECK_MS,
        )
        return bool(taken)

    def remove(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Remove a prediction from its line, with a token, in a pipeline."""
        kind = kind_of(prediction)
        _LEAVE_LINE(
            pipe,
            line=_line(kind, prediction.key_id),
            waiting=_waiting(kind),
            tokens=_tokens(kind),
            id=prediction.id,
        )

    def schedule_check(self, prediction: Prediction) -> bool:
        """Plan the next check of a prediction that waits in line. Returns False if it does not."""
        timeout_at = prediction.queue_deadline
        is_in_line = _KEEP_IN_LINE(
            self._redis,
            waiting=_waiting(kind_of(prediction)),
            open=OPEN,
            id=prediction.id,
            check_ms=_LINE_CHECK_MS,
            timeout_ms=None if timeout_at is None else to_ms(timeout_at),
        )
        return bool(is_in_line)

    def length(self, kind: CheckpointKind) -> int:
        """Count the predictions in line for one checkpoint kind."""
        return self._redis.zcard(_waiting(kind))

    def oldest(self, kind: CheckpointKind) -> str | None:
        """Return the id of the first arrival among those in line."""
        first = cast("list[bytes]", self._redis.zrange(_waiting(kind), 0, 0))
        return first[0].decode() if first else None


def kind_of(prediction: Prediction) -> CheckpointKind:
    """Return the kind of checkpoint that a prediction needs."""
    return MODELS[prediction.model].checkpoint


def line_keys(prediction: Prediction) -> dict[str, str]:
    """Return the Redis keys that change when a prediction gets in line, by their names in the scripts."""
    kind = kind_of(prediction)
    return {
        "line": _line(kind, prediction.key_id),
        "waiting": _waiting(kind),
        "turns": _turns(kind),
        "arrivals": ARRIVALS,
        "tokens": _tokens(kind),
    }


def line_prefix(prediction: Prediction) -> str:
    """Return what the Redis keys of all lines for a prediction's checkpoint kind begin with."""
    return _line(kind_of(prediction), "")


def recent_key(kind: CheckpointKind) -> str:
    """Return the Redis key of the samples of recent predictions."""
    return f"klein:samples:{kind}"


def queue_name(kind: CheckpointKind) -> str:
    """Return RQ's name of the queue of tokens for workers with this checkpoint kind."""
    return f"klein-{kind}"


def _tokens(kind: CheckpointKind) -> str:
    return f"rq:queue:{queue_name(kind)}"


def _waiting(kind: CheckpointKind) -> str:
    return f"klein:waiting:{kind}"


def _turns(kind: CheckpointKind) -> str:
    return f"klein:turns:{kind}"


def _line(kind: CheckpointKind, key_id: str) -> str:
    return f"klein:line:{kind}:{key_id}"

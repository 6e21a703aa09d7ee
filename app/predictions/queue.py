"""The queue: RQ carries tokens that say "somebody waits" and nothing else; who is next is decided in lines.

Each API key has a line of its own and the keys take turns, so that one key's backlog does not hold up another's.
Keys: `klein:line:{kind}:{key}` a key's ids by arrival · `klein:turns:{kind}` the keys in line by turn · `klein:arrivals`
the number of the latest arrival or turn. RQ may lose, repeat or resurrect a token, and a line may hold what has ended;
the record decides what happens (see ARCHITECTURE.md). A token can call one function only, whatever is written in Redis.
"""

from collections.abc import Callable
from typing import Any, cast

import redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Prediction

JOB = "worker.job.token.run_next"
KEEP_S = 60  # how long RQ keeps a token that has been worked on
NO_TIMEOUT = -1  # deadlines are the worker's own: an alarm cannot stop a stuck kernel
ARRIVALS = "klein:arrivals"
# KEYS line, turns, arrivals; ARGV id, API key, '1' for one that comes again: it had its turn, and goes to the front
# Who is in line already keeps its place.
_JOIN = """
local number = ARGV[3] == '1' and 0 or redis.call('INCR', KEYS[3])
redis.call('ZADD', KEYS[1], 'NX', number, ARGV[1])
redis.call('ZADD', KEYS[2], number == 0 and 'LT' or 'NX', number, ARGV[2])
"""
# KEYS turns, arrivals; ARGV the lines' common name: the key whose turn it is goes to the end of the turns
_TAKE = """
while true do
  local key = redis.call('ZPOPMIN', KEYS[1])[1]
  if not key then return nil end
  local line = ARGV[1] .. key
  local id = redis.call('ZPOPMIN', line)[1]
  if redis.call('EXISTS', line) == 1 then
    redis.call('ZADD', KEYS[1], redis.call('INCR', KEYS[2]), key)
  end
  if id then return id end
end
"""
# KEYS turns; ARGV the lines' common name, how many: who is next, then after that, as _TAKE would give them
_NEXT = """
local keys, found = redis.call('ZRANGE', KEYS[1], 0, -1), {}
for place = 0, ARGV[2] - 1 do
  local left = {}
  for _, key in ipairs(keys) do
    local id = redis.call('ZRANGE', ARGV[1] .. key, place, place)[1]
    if #found >= ARGV[2] + 0 then return found end
    if id then
      found[#found + 1] = id
      left[#left + 1] = key
    end
  end
  keys = left
end
return found
"""
# KEYS turns, line, RQ's list, arrivals; ARGV API key, id, RQ's name of jobs: a turn, with a token, as if RQ had brought it
_PICK = """
if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 0 end
local token = redis.call('LPOP', KEYS[3])
if token then redis.call('DEL', ARGV[3] .. token) end
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZADD', KEYS[1], redis.call('INCR', KEYS[4]), ARGV[1])
end
return 1
"""
# KEYS line, RQ's list, RQ's job; ARGV id, token: a token goes only with one that waits, so that no other lacks its own
_LEAVE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('LREM', KEYS[2], 0, ARGV[2])
  redis.call('DEL', KEYS[3])
end
"""
# KEYS turns; ARGV the lines' common name; gives how many are in line, and who arrived first
_IN_LINE = """
local count, first, arrived = 0, false, math.huge
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local line = ARGV[1] .. key
  count = count + redis.call('ZCARD', line)
  local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) < arrived then first, arrived = head[1], tonumber(head[2]) end
end
return {count, first}
"""


class Token(Job):
    """An RQ job that can only be a token: no other function, no callback, no webhook."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """Give the one function that a token may call. Raises PermissionError for any other."""
        if self.func_name != JOB or self.instance is not None:
            raise PermissionError(f"a token may only call {JOB}")
        return super().func  # type: ignore[no-any-return]  # RQ is untyped here

    success_callback = failure_callback = stopped_callback = property(lambda _self: None)

    def restore(self, raw_data: dict[Any, Any]) -> None:
        """Read a token; one that cannot be read is as good as gone, and no worker falls over it."""
        try:
            super().restore(raw_data)
        except (ValueError, TypeError, AssertionError) as exc:  # as RQ raises them
            raise NoSuchJobError(f"token {self.id} cannot be read") from exc

    def delete(self, pipeline: Pipeline | None = None, **kwargs: Any) -> None:  # type: ignore[override]  # the rest by name
        """Delete what has been worked on; of what a cancel deleted meanwhile, what RQ wrote since."""
        try:
            super().delete(pipeline, **kwargs)
        except InvalidJobOperation:
            (self.connection if pipeline is None else pipeline).delete(self.key)

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Send nothing: klein's own courier signs and retries."""


class Queues:
    """One RQ queue, with its lines, for each kind of checkpoint that a worker can hold."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._queues = {kind: open_queue(kind, connection) for kind in CheckpointKind}

    def push(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Put the prediction in line, with a token, by a fresh pipeline, before anything else."""
        queue = self._of(prediction)
        token = Token.create(
            JOB,
            (),
            id=prediction.token_id,
            connection=queue.connection,
            serializer=JSONSerializer,
            timeout=NO_TIMEOUT,
            result_ttl=0,
            failure_ttl=KEEP_S,
            description=prediction.id,
        )
        queue.enqueue_job(token, pipeline=pipe)
        kind = _kind_of(prediction)
        line = _line(kind, prediction.key_id)
        comes_again = "1" if prediction.token > 1 else "0"
        pipe.eval(
            _JOIN, 3, line, _turns(kind), ARRIVALS, prediction.id, prediction.key_id, comes_again
        )

    def take(self, kind: CheckpointKind) -> str | None:
        """Take the next prediction's id out of its line: the keys take turns, each in order of arrival."""
        taken = self._redis.eval(_TAKE, 2, _turns(kind), ARRIVALS, _line(kind, ""))
        return None if taken is None else cast("bytes", taken).decode()

    def following(self, kind: CheckpointKind, most: int) -> list[str]:
        """List who would be taken next, in turns, and take nobody."""
        found = self._redis.eval(_NEXT, 1, _turns(kind), _line(kind, ""), most)
        return [i.decode() for i in cast("list[bytes]", found)]

    def pick(self, prediction: Prediction) -> bool:
        """Take this one out of its line, with a token, as its key's turn; False where it is not there any more."""
        kind = _kind_of(prediction)
        keys = (_turns(kind), _line(kind, prediction.key_id), self._of(prediction).key, ARRIVALS)
        argv = (prediction.key_id, prediction.id, Token.redis_job_namespace_prefix)
        return bool(self._redis.eval(_PICK, len(keys), *keys, *argv))

    def remove(self, prediction: Prediction, pipe: Pipeline) -> None:
        """Take a prediction out of its line, with its token, by a pipeline."""
        token_id = prediction.token_id
        keys = (
            _line(_kind_of(prediction), prediction.key_id),
            self._of(prediction).key,
            Token.key_for(token_id),
        )
        pipe.eval(_LEAVE, len(keys), *keys, prediction.id, token_id)

    def holds(self, prediction: Prediction) -> bool:
        """Say whether it is in line, and as many tokens are left as wait there."""
        kind = _kind_of(prediction)
        pipe = self._redis.pipeline()
        pipe.zscore(_line(kind, prediction.key_id), prediction.id)
        pipe.eval(_IN_LINE, 1, _turns(kind), _line(kind, ""))
        pipe.llen(self._of(prediction).key)
        place, (in_line, _), tokens = pipe.execute()
        return place is not None and tokens >= in_line

    def length(self, kind: CheckpointKind) -> int:
        """Count the predictions that wait for workers of one kind."""
        return self._in_line(kind)[0]

    def oldest(self, kind: CheckpointKind) -> str | None:
        """Give the id of the prediction that arrived first of those that wait."""
        first = self._in_line(kind)[1]
        return None if first is None else first.decode()

    def _in_line(self, kind: CheckpointKind) -> tuple[int, bytes | None]:
        found = self._redis.eval(_IN_LINE, 1, _turns(kind), _line(kind, ""))
        return cast("tuple[int, bytes | None]", found)

    def _of(self, prediction: Prediction) -> Queue:
        return self._queues[_kind_of(prediction)]


def open_queue(kind: CheckpointKind, connection: "redis.Redis") -> Queue:
    """Open the queue that workers holding this kind of checkpoint listen to."""
    return Queue(f"klein-{kind}", connection=connection, serializer=JSONSerializer, job_class=Token)


def _kind_of(prediction: Prediction) -> CheckpointKind:
    return MODELS[prediction.model].checkpoint


def _turns(kind: CheckpointKind) -> str:
    return f"klein:turns:{kind}"


def _line(kind: CheckpointKind, key_id: str) -> str:
    return f"klein:line:{kind}:{key_id}"

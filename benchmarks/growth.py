"""Measures what a prediction costs Redis, and how the cost grows with open predictions and API keys.

`make bench-growth` runs it on a Redis of its own and writes its tables into docs/performance.md. It counts commands, bytes and
Redis's own processor time, which depend little on other load.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import redis

from app.predictions.accounts import Limits, Terms, held_key
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.history import History
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Idempotency, Output, Prediction, Timeouts, Webhook
from app.predictions.queue import Queues
from app.predictions.redis_keys import OPEN, history_key, record_key
from app.predictions.store import Store, Taken
from app.storage.local import LocalStorage
from benchmarks.report import write_section
from tests.support.fakes import a_prediction
from tests.support.redis_server import running_redis
from worker.job.attempt import Attempt
from worker.job.attempt_records import AttemptRecords
from worker.job.leases import Lease, Leases
from worker.job.queue_worker import open_worker
from worker.job.token import provide_dependencies

REPORT = Path("docs/performance.md")
KIND = CheckpointKind.DISTILLED
LIVES = 200
REPEATS = 200
PART = 1000
SIZES = ((10, 1), (1000, 1), (1000, 1000), (100_000, 1), (100_000, 1000), (100_000, 10_000))
"""Open predictions, and API keys."""
EXPIRED = 10_000
SHORT_EXPIRED = 200
SHORT_SIZES = ((10, 1), (300, 1), (300, 300))
BUDGET = Terms(limits=Limits(dollars_per_month=1e6), cost=0.001)
SECRET = "s" * 32
LIFE = """One life: a create with an idempotency key, a budget and a webhook, the token, the claim, three steps, one heartbeat and the
end. The column `before` is commit 85ffd8b."""
EARLIER = {"commands": 90, "bytes received": 21_500, "bytes of the append-only file": 8_800}
"""The same life at commit 85ffd8b."""
EARLIER_AT_REST = 929
ROUND_TRIPS = """One prediction with a poll takes 5 round trips to Redis, of which 4 are synced writes: the create, the token, the claim and the end.
`tests/integration/test_costs.py` holds both numbers."""


class Bench:
    """A store on a Redis of its own."""

    def __init__(self, connection: "redis.Redis", folder: Path) -> None:
        self.redis = connection
        self.queues = Queues(connection)
        self.store = Store(connection, self.queues, timedelta(days=7))
        self.history = History(connection, self.store)
        self.records, self.leases = AttemptRecords(self.store), Leases(self.store)
        self.maintenance = Maintenance(self.store, self.queues, LocalStorage(folder))
        self.numbers = itertools.count()

    def add(self, key_id: str = "key0", terms: Terms = BUDGET) -> str:
        """Accept a prediction as a caller with an idempotency key and a webhook sends it."""
        prediction_id = f"{next(self.numbers):08x}-0000-4000-8000-000000000000"
        webhook = Webhook(url="https://a.test/hook", secret=SECRET, base="https://klein.test")
        self.store.add(
            a_prediction(
                prediction_id,
                key_id=key_id,
                created_at=datetime.now(UTC),
                timeouts=Timeouts(queue=timedelta(hours=1), run=timedelta(minutes=10)),
                webhook=webhook,
                idempotency=Idempotency(key=prediction_id, fingerprint="f" * 64),
            ),
            terms,
        )
        return prediction_id

    def fill(self, count: int, keys: int) -> None:
        """Leave what so many accepted predictions of so many keys leave, without the jobs of their tokens."""
        record = cast("bytes", self.redis.get(record_key(self.add())))
        now_ms = round(time.time() * 1000)
        for start in range(0, count, PART):
            pipe = self.redis.pipeline(transaction=False)
            for number in range(start, min(start + PART, count)):
                prediction_id, key_id = f"filled-{number}", f"key{number % keys}"
                pipe.set(record_key(prediction_id), record)
                pipe.zadd(OPEN, {prediction_id: now_ms + 590_000})
                pipe.zadd(history_key(key_id), {prediction_id: now_ms})
                pipe.hset(held_key(key_id), prediction_id, 1_000_000)
                pipe.zadd(f"klein:line:{KIND}:{key_id}", {prediction_id: number})
                pipe.zadd(f"klein:waiting:{KIND}", {prediction_id: number})
                pipe.zadd(f"klein:turns:{KIND}", {key_id: number}, nx=True)
                pipe.rpush(f"rq:queue:klein-{KIND}", prediction_id)
            pipe.execute()
        self.redis.set("klein:arrivals", count)

    def work(self, taken: Taken, _find_batch_mates: object = None) -> None:
        """Run an attempt of three steps and one heartbeat, as the worker writes it."""
        prediction_id, owner = taken.id, cast("str", cast("Prediction", taken.claimed).owner)
        lease = Lease(prediction=cast("Prediction", taken.claimed), owner=owner)
        attempt = Attempt(lease=lease)
        for step in (1, 2, 3):
            attempt.recorded_s = float("-inf")
            self.records.advance(attempt, step, 4)
        self.leases.renew(lease)  # the last step did so
        outputs = (Output(key=f"{prediction_id}/{owner}/0.png", width=1024, height=768),)
        self.store.change(prediction_id, lambda p, now: p.succeed(owner, outputs, (), now))

    def run_all(self) -> None:
        """Let a worker take every token."""
        with provide_dependencies(cast("Any", self), self.store.take_next):
            open_worker(self.redis, f"bench-{next(self.numbers)}", [KIND]).work(
                burst=True, logging_level="CRITICAL"
            )

    def counters(self) -> dict[str, int]:
        """Return what Redis counts: commands of clients, bytes received and written."""
        info = self.redis.info()
        return {
            "commands": info["total_commands_processed"],
            "bytes received": info["total_net_input_bytes"],
            "bytes of the append-only file": info["aof_current_size"],
        }

    def processor_us(self) -> float:
        """Return the time of Redis's main thread, in microseconds."""
        info = self.redis.info("cpu")
        return float(info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]) * 1e6


def measure_life(bench: Bench) -> dict[str, float]:
    """Return the cost of one life, from the accept to the end, without the delivery of its webhook."""
    bench.redis.config_set("auto-aof-rewrite-percentage", 0)
    bench.add()
    bench.run_all()  # loads the scripts
    before = bench.counters()
    for _ in range(LIVES):
        bench.add()
    bench.run_all()
    after = bench.counters()
    return {name: (after[name] - before[name]) / LIVES for name in before}


def at_rest(bench: Bench) -> int:
    """Return the bytes of the record of an open prediction."""
    return len(cast("bytes", bench.redis.get(record_key(bench.add()))))


def operations(bench: Bench, keys: int) -> dict[str, Callable[[], object]]:
    """Return the operations whose growth is measured."""
    now = datetime.now(UTC)
    day = timedelta(days=1)
    key_ids = itertools.cycle([f"key{number}" for number in range(min(keys, REPEATS))])
    added: list[str] = []

    def enqueue() -> None:
        added.append(bench.add(next(key_ids)))

    return {
        "enqueue": enqueue,
        "check with a budget": lambda: bench.store.check("key0", BUDGET, now),
        "list the next 12": lambda: bench.queues.list_next(KIND, 12),
        "page of 20": lambda: bench.history.page(
            "key0", since=now - day, until=now + day, offset=0, limit=20
        ),
        "cancel": lambda: bench.store.change(added.pop(), lambda p, at: p.cancel(at)),
        "sweep of the courier": bench.maintenance.reconcile,
        "take and claim": lambda: bench.store.take_next(KIND, "owner"),
    }


def measure_growth(bench: Bench, open_count: int, keys: int) -> dict[str, float]:
    """Return Redis's time for each operation, in microseconds, with so many open predictions of so many keys."""
    bench.fill(open_count, keys)
    times = {}
    for name, operate in operations(bench, keys).items():
        if name.startswith("take"):  # each one finds a prediction, also in the smallest queue
            for number in range(REPEATS):
                bench.add(f"key{number % keys}")
        before = bench.processor_us()
        for _ in range(REPEATS):
            operate()
        times[name] = (bench.processor_us() - before) / REPEATS
    return times


def measure_expiry(count: int) -> float:
    """Return how many predictions with a file each one courier deletes in a second. Redis syncs every write."""
    with (
        running_redis() as server,
        server.connect() as connection,
        TemporaryDirectory() as folder,
    ):
        queues, storage = Queues(connection), LocalStorage(Path(folder))
        store = Store(connection, queues, retention=timedelta(0))
        for number in range(count):
            store.add(a_prediction(f"expired-{number}"))
            storage.put(f"expired-{number}/a/0.png", b"image")
            store.change(f"expired-{number}", lambda p, now: p.cancel(now))
        began_s = time.perf_counter()
        deleted = Maintenance(store, queues, storage).expire()
        duration_s = time.perf_counter() - began_s
        if deleted != count or any(Path(folder).iterdir()):
            raise RuntimeError(f"{deleted} of {count} predictions were deleted with their files")
        return count / duration_s


def report(
    life: dict[str, float],
    rest: int,
    growth: dict[tuple[int, int], dict[str, float]],
    expired: int,
    expired_per_s: float,
) -> str:
    """Return the tables."""
    lines = [
        f"Measured by `make bench-growth` on {datetime.now(UTC):%Y-%m-%d}, on the embedded Valkey. {LIFE}",
        "",
        "| One life | before | now |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {EARLIER[name]:,} | {value:,.0f} |" for name, value in life.items()]
    lines += [
        f"| record of an open prediction, bytes | {EARLIER_AT_REST} | {rest} |",
        "",
        ROUND_TRIPS,
        "",
    ]
    lines.append("Redis's processor time of each operation, in microseconds:")
    sizes = list(growth)
    titles = [f"{open_count:,} open, {keys:,} keys" for open_count, keys in sizes]
    lines += ["", f"| Operation | {' | '.join(titles)} |", "|---" * (len(sizes) + 1) + "|"]
    for name in growth[sizes[0]]:
        cells = " | ".join(f"{growth[size][name]:,.0f}" for size in sizes)
        lines.append(f"| {name} | {cells} |")
    lines += [
        "",
        (
            f"Retention: of {expired:,} ended predictions, each with a file on disk, one courier deleted "
            f"{expired_per_s:,.0f} a second, with a Redis that syncs every write. "
            f"{10_000 / 60:.0f} a second end at 10,000 a minute."
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the tables, or print them with `--short`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure small sizes and print")
    is_short = parser.parse_args().short
    growth: dict[tuple[int, int], dict[str, float]] = {}
    for size in SHORT_SIZES if is_short else SIZES:
        with (
            running_redis() as server,
            server.connect() as connection,
            TemporaryDirectory() as folder,
        ):
            connection.config_set("appendfsync", "no")
            bench = Bench(connection, Path(folder))
            if not growth:
                life, rest = measure_life(bench), at_rest(bench)
                connection.flushall()
            growth[size] = measure_growth(bench, *size)
        print(f"{size[0]:,} open predictions of {size[1]:,} keys: measured", flush=True)
    expired = SHORT_EXPIRED if is_short else EXPIRED
    text = report(life, rest, growth, expired, measure_expiry(expired))
    if is_short:
        print(text)
    else:
        write_section(REPORT, "Growth", text)


if __name__ == "__main__":
    main()

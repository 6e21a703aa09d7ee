"""Chaos test: real load on real processes with a random fault every few seconds. Afterwards, nothing may be missing.

`python -m tests.chaos --minutes 30 --seed 1 --workers 2` prints a table and exits with 1 if a promise was broken.
"""

import argparse
import random
import sys
import threading
import time
from pathlib import Path

import httpx

from tests.chaos.crowd import crowd
from tests.chaos.faults import Faults, as_json
from tests.chaos.load import FINAL, Caller, CallerRequest, look
from tests.chaos.system import System, running_system
from tests.chaos.verdict import Verdict, judge, percentile
from tests.support.webhook_receiver import Receiver, running_receiver

CALLERS = 8
QUIET_S = 180.0
RECOVERY_S = {True: 20.0, False: 45.0}  # with several workers, or with one that must restart


def run(seconds: float, seed: int, workers: int) -> Verdict:
    """Run load and faults for so long, wait until all work has ended, and check the result."""
    verdict = Verdict()
    keys = ["chaos-a", "chaos-b", "chaos-c"]
    with running_receiver() as receiver, running_system(workers, keys) as system:
        await_ready(system)
        stopping, calm = threading.Event(), threading.Event()
        chosen = random.Random(seed)
        callers = [
            Caller(system.url, keys[k % len(keys)], receiver.url, chosen.getrandbits(32), stopping)
            for k in range(CALLERS)
        ]
        faults = Faults(system, receiver, chosen.getrandbits(32), calm)
        for thread in (*callers, faults):
            thread.start()
        time.sleep(seconds)
        calm.set()
        faults.join()
        stopping.set()
        for caller in callers:
            caller.join()
        requests = [one for caller in callers for one in caller.requests]
        settle_s = settle(system, receiver, requests)
        verdict.row("seed, workers, seconds of faults", f"{seed}, {workers}, {seconds:.0f}")
        verdict.row("faults", as_json(faults))
        judge(system, receiver, requests, verdict)
        verdict.row("seconds until all had ended", f"{settle_s:.1f}")
        judge_recovery(faults, workers, verdict)
        for part in system.parts:
            verdict.row(f"{part.name}: starts, exit codes", f"{part.starts}, {dict(part.codes)}")
            for line in part.last_words:
                verdict.row(f"{part.name}: its last words", line)
        if verdict.violations:
            keep_logs(system, seed)
    return verdict


def await_ready(system: System) -> None:
    """Wait for the first worker."""
    ends = time.monotonic() + 120
    with httpx.Client(base_url=system.url, trust_env=False) as client:
        while time.monotonic() < ends:
            try:
                if client.get("/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise TimeoutError("\n".join(line for part in system.parts for line in part.tail))


def settle(system: System, receiver: Receiver, requests: list[CallerRequest]) -> float:
    """Wait until every accepted prediction has ended and every webhook is delivered."""
    started = time.monotonic()
    left = [one for one in requests if one.ids]
    with httpx.Client(base_url=system.url, trust_env=False, timeout=30) as client:
        while left and time.monotonic() - started < QUIET_S:
            still = []
            for one in left:
                body = look(client, one)
                if body is None or body["status"] not in FINAL:
                    still.append(one)
            left = still
            time.sleep(0.2)
    settled_s = time.monotonic() - started
    owed = {
        one.idempotency_key
        for one in requests
        if one.has_webhook and one.first_final and one.first_final["status"] != "cancelled"
    }
    while time.monotonic() - started < QUIET_S:
        delivered = {
            call.path.removeprefix("/") for call in receiver.calls if call.is_answered_well
        }
        if owed <= delivered:
            break
        time.sleep(0.2)
    return settled_s


def judge_recovery(faults: Faults, workers: int, verdict: Verdict) -> None:
    """Compare how long predictions were without a worker with the promised limit."""
    times = faults.recoveries_s
    p50, p95 = percentile(times, 50), percentile(times, 95)
    verdict.row(
        "from kill -9 of a worker to its prediction running again",
        f"{len(times)} times, p50 {p50:.1f} s, p95 {p95:.1f} s",
    )
    if times and p95 > RECOVERY_S[workers > 1]:
        verdict.violation(f"recovery p95 {p95:.1f} s")


def keep_logs(system: System, seed: int) -> None:
    """Keep the last lines of each process for debugging."""
    path = Path(f"chaos-{seed}.log")
    lines = [f"{part.name}: {line}" for part in system.parts for line in part.tail]
    path.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"the processes' last lines are in {path}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--crowd", action="store_true", help="5,000 queued, 2,000 waiting, no faults"
    )
    arguments = parser.parse_args()
    if arguments.crowd:
        verdict = crowd()
    else:
        verdict = run(arguments.minutes * 60, arguments.seed, arguments.workers)
    sys.stdout.write(verdict.table() + "\n")
    sys.exit(1 if verdict.violations else 0)


if __name__ == "__main__":
    main()

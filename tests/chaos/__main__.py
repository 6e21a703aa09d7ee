"""Chaos test: real load on real processes with a random fault every few seconds. Afterwards, nothing may be missing.

`python -m tests.chaos --minutes 30 --seed 1` prints a table and exits with 1 if a promise was broken.
"""

import argparse
import random
import sys
import threading
import time
from pathlib import Path

import httpx

from tests.chaos.crowd import crowd
from tests.chaos.faults import GRACE_S, Faults, as_json
from tests.chaos.load import FINAL, Caller, CallerRequest, look
from tests.chaos.system import System, running_system
from tests.chaos.verdict import Verdict, judge, percentile
from tests.support.silent_host import SilentHost, silent_hosts
from tests.support.webhook_receiver import Receiver, running_receiver

CALLERS = 8
SILENT_KEY = "chaos-silent-of-more-than-thirty-two-characters"
QUIET_S = 180.0
EXIT_SLACK_S = 15.0  # for a busy machine to end the process
RECOVERY_S = {True: 20.0, False: 45.0}  # with several workers, or with one that must restart


def run(seconds: float, seed: int, workers: int = 3, couriers: int = 2, batch: int = 4) -> Verdict:
    """Run load and faults for so long, wait until all work has ended, and check the result.

    One more key has a receiver that accepts connections and never responds. All other webhooks must arrive.
    """
    verdict = Verdict()
    keys = [
        "chaos-a-of-more-than-thirty-two-characters",
        "chaos-b-of-more-than-thirty-two-characters",
        "chaos-c-of-more-than-thirty-two-characters",
    ]
    with (
        running_receiver() as receiver,
        silent_hosts(1) as (silent,),
        running_system(0, [*keys, SILENT_KEY], couriers, batch) as system,
    ):
        system.add_workers(workers, KLEIN_GRACE=str(GRACE_S))
        await_ready(system)
        stopping, faults_stopped = threading.Event(), threading.Event()
        chosen = random.Random(seed)
        callers = [
            Caller(system.url, keys[k % len(keys)], receiver.url, chosen.getrandbits(32), stopping)
            for k in range(CALLERS)
        ]
        silent_url = f"http://127.0.0.1:{silent.port}"
        callers.append(
            Caller(
                system.url,
                SILENT_KEY,
                silent_url,
                chosen.getrandbits(32),
                stopping,
                is_receiver_silent=True,
            )
        )
        faults = Faults(system, receiver, chosen.getrandbits(32), faults_stopped)
        for thread in (*callers, faults):
            thread.start()
        time.sleep(seconds)
        faults_stopped.set()
        faults.join()
        stopping.set()
        for caller in callers:
            caller.join()
        requests = [one for caller in callers for one in caller.requests]
        settle_s = settle(system, receiver, requests)
        verdict.row(
            "seed, workers, couriers, batch, seconds of faults",
            f"{seed}, {workers}, {couriers}, {batch}, {seconds:.0f}",
        )
        verdict.row("faults", as_json(faults))
        judge(system, receiver, requests, verdict)
        verdict.row("seconds until all had ended", f"{settle_s:.1f}")
        judge_recovery(faults, workers, verdict)
        judge_exits(faults.exits_s, verdict)
        judge_silent_receiver(silent, verdict)
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
    expected_deliveries = {
        one.idempotency_key
        for one in requests
        if one.has_webhook
        and not one.is_receiver_silent
        and one.first_final
        and one.first_final["status"] != "cancelled"
    }
    while time.monotonic() - started < QUIET_S:
        delivered = {
            call.path.removeprefix("/") for call in receiver.calls if call.is_answered_well
        }
        if expected_deliveries <= delivered:
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


def judge_exits(exits_s: list[float], verdict: Verdict) -> None:
    """Compare how long workers took to exit after SIGTERM with their grace period."""
    longest_s = max(exits_s, default=0.0)
    verdict.row(
        f"from SIGTERM to the exit of a worker, with {GRACE_S} s of grace",
        f"{len(exits_s)} times, at most {longest_s:.1f} s",
    )
    if longest_s > GRACE_S + EXIT_SLACK_S:
        verdict.violation(f"a worker exited {longest_s:.1f} s after SIGTERM")


def judge_silent_receiver(silent: SilentHost, verdict: Verdict) -> None:
    """Check that webhooks were sent to the silent receiver: else it delayed nobody."""
    verdict.row("connections to the silent receiver of another key", len(silent.connections))
    if not silent.connections:
        verdict.violation("no webhook was sent to the silent receiver")


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
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--couriers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4, help="KLEIN_BATCH")
    parser.add_argument(
        "--crowd", action="store_true", help="5,000 queued, 2,000 waiting, no faults"
    )
    arguments = parser.parse_args()
    if arguments.crowd:
        verdict = crowd()
    else:
        verdict = run(
            arguments.minutes * 60,
            arguments.seed,
            arguments.workers,
            arguments.couriers,
            arguments.batch,
        )
    sys.stdout.write(verdict.table() + "\n")
    sys.exit(1 if verdict.violations else 0)


if __name__ == "__main__":
    main()

"""Measures what a victim notices of each attack, and of all together: `python -m tests.abuse --seconds 20`.

Prints a table. Exits with 1 if something of the victim's was lost, or if the api used more memory than it may.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from tests.abuse.attacks import ATTACKS
from tests.abuse.attacks.attack import Attack
from tests.abuse.parts import ATTACKER, VICTIM, Parts, running_parts
from tests.abuse.usage import watched
from tests.abuse.victim import Measured, measure
from tests.support import processes
from tests.support.silent_host import silent_hosts
from tests.support.webhook_receiver import Receiver, running_receiver

RSS_MOST_BYTES = 300 * 1024 * 1024
SILENT_HOSTS = 8
START_S = 25.0  # for the first attack of each kind
STEPS = ("create", "poll", "end", "webhook")
HEADER = (
    f"| Attack | {' | '.join(f'{step}: p50, p99' for step in STEPS)} | predictions | attacks | memory of the api |\n"
    f"|---|{'---|' * (len(STEPS) + 3)}"
)


class Run:
    """The rows of the table, and what went wrong."""

    def __init__(self, parts: Parts, receiver: Receiver, ports: Sequence[int], seconds: float):
        self._parts = parts
        self._receiver = receiver
        self._ports = ports
        self._seconds = seconds
        self.faults: list[str] = []

    def row(self, name: str, attacks: Sequence[Attack]) -> None:
        """Measure the victim during these attacks and print the row."""
        key = None if all(attack.is_of_stranger for attack in attacks) else ATTACKER
        command = [sys.executable, "-m", "tests.abuse.attacks", self._parts.url, key or ""]
        command += [",".join(map(str, self._ports)), *(attack.kind for attack in attacks)]
        with (
            watched(self._parts) as peak,
            processes.started(command, stdout=subprocess.PIPE, text=True) as attack,
        ):
            made = _count_lines(attack, {a.kind for a in attacks})
            before = made.total()
            measured = measure(self._parts.url, VICTIM, self._receiver, self._seconds)
            count_of_attacks = made.total() - before
            if attacks and attack.poll() is not None:
                self.faults.append(f"{name}: the attacks ended by themselves")
            if attacks and not made:
                self.faults.append(f"{name}: no attack was made")
        if peak.rss_bytes > RSS_MOST_BYTES:
            self.faults.append(f"{name}: the api used {_mb(peak.rss_bytes)}")
        self.faults += [f"{name}: {lost}" for lost in measured.lost]
        times = [_times(measured, step) for step in STEPS]
        count = len(measured.steps["create"])
        sys.stdout.write(
            f"| {name} | {' | '.join(times)} | {count} | {count_of_attacks} | {_mb(peak.rss_bytes)} |\n"
        )
        sys.stdout.flush()


def _count_lines(attack: processes.Process, kinds: set[str]) -> Counter[str]:
    """Count the attacks of each kind that a process makes. Returns when it has made one of each, or after START_S."""
    made: Counter[str] = Counter()

    def count() -> None:
        assert attack.stdout is not None
        with suppress(ValueError):  # it is closed at the end
            for line in attack.stdout:
                made[line.strip()] += 1

    threading.Thread(target=count, daemon=True).start()
    ends = time.monotonic() + START_S
    while not kinds <= set(made) and time.monotonic() < ends:
        threading.Event().wait(0.1)
    return made


def _times(measured: Measured, step: str) -> str:
    return ", ".join(f"{measured.percentile_s(step, p) * 1000:.0f} ms" for p in (50, 99))


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each row")
    parser.add_argument("--only", default="", help="the kind of attack")
    arguments = parser.parse_args()
    attacks = [attack for attack in ATTACKS if arguments.only in attack.kind]
    strangers = [attack for attack in attacks if attack.is_of_stranger]
    with (
        silent_hosts(SILENT_HOSTS) as silent,
        running_receiver() as receiver,
        running_parts(KLEIN_ALLOW_HOSTS="127.0.0.1,localhost") as parts,
    ):
        run = Run(parts, receiver, [host.port for host in silent], arguments.seconds)
        sys.stdout.write(HEADER + "\n")
        run.row("none", ())
        for attack in attacks:
            run.row(attack.kind, (attack,))
        run.row("all of a stranger", strangers)
        run.row("all", attacks)
        run.row("none, afterwards", ())
    for fault in run.faults[:10]:
        sys.stdout.write(f"FAULT {fault}\n")
    sys.exit(1 if run.faults else 0)


if __name__ == "__main__":
    main()

"""Measures what a victim notices of each attack, and of all together: `python -m tests.abuse --seconds 20`.

Each row alternates between rounds without and with the attack. `--write` puts the table into docs/reliability.md. Exits with
1 if something of the victim's was lost, or if the api used more memory than it may.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from app.keys import hash_key
from app.predictions.queue import Queues
from app.predictions.revocation import cancel_all
from app.predictions.store import Store
from benchmarks.report import write_section
from tests.abuse.attacks import ATTACKS
from tests.abuse.attacks.attack import Attack
from tests.abuse.parts import ATTACKER, VICTIM, Parts, running_parts
from tests.abuse.table import HEADER, Row, render_section
from tests.abuse.usage import watched
from tests.abuse.victim import Measured, Victim
from tests.support import processes
from tests.support.silent_host import silent_hosts
from tests.support.webhook_receiver import running_receiver

REPORT = Path("docs/reliability.md")
MAX_RSS_BYTES = 300 * 1024 * 1024
SILENT_HOSTS = 8
START_S = 25.0  # for the first attack of each kind
ROUND_S = 5.0
IDLE_S = 20.0  # until what an attack has left is over
KEY_ID_LENGTH = 16
IDLE_CPU = 10.0  # percent of a processor that an api without callers takes at most


class Run:
    """The rows of the table, and what went wrong."""

    def __init__(self, parts: Parts, victim: Victim, ports: Sequence[int], seconds: float) -> None:
        self._parts = parts
        self._victim = victim
        self._ports = ports
        self._rounds = max(1, round(seconds / ROUND_S))
        self._round_s = seconds / self._rounds
        self.rows: list[Row] = []
        self.faults: list[str] = []

    def row(self, name: str, attacks: Sequence[Attack]) -> None:
        """Measure the victim without and with these attacks, in turn, and print the row."""
        calm, attacked = Measured(), Measured()
        made: Counter[str] = Counter()
        with watched(self._parts) as peak:
            for _ in range(self._rounds):
                self._settle()
                self._victim.measure(calm, self._round_s)
                self._attack(name, attacks, attacked, made)
        if peak.rss_bytes > MAX_RSS_BYTES:
            self.faults.append(f"{name}: the api used {peak.rss_bytes // 2**20} MB")
        lost = [*calm.lost, *attacked.lost]
        self.faults += [f"{name}: {each}" for each in lost]
        row = Row(name=name, calm=calm, attacked=attacked, attacks=made.total(), peak=peak)
        self.rows.append(row)
        sys.stdout.write(row.render() + "\n")
        sys.stdout.flush()

    def _attack(
        self, name: str, attacks: Sequence[Attack], attacked: Measured, made: Counter[str]
    ) -> None:
        """Measure the victim during these attacks."""
        key = None if all(attack.is_of_stranger for attack in attacks) else ATTACKER
        command = [sys.executable, "-m", "tests.abuse.attacks", self._parts.url, key or ""]
        command += [",".join(map(str, self._ports)), *(attack.kind for attack in attacks)]
        with processes.started(command, stdout=subprocess.PIPE, text=True) as attack:
            lines = _count_lines(attack, {a.kind for a in attacks})
            before = lines.copy()
            self._victim.measure(attacked, self._round_s)
            made.update(lines - before)
            if attacks and attack.poll() is not None:
                self.faults.append(f"{name}: the attacks ended by themselves")
            if attacks and not lines:
                self.faults.append(f"{name}: no attack was made")

    def _settle(self) -> None:
        """Cancel what an attack has left in the queue, and wait until the api has nothing to do."""
        with self._parts.system.connect() as connection:
            store = Store(connection, Queues(connection), timedelta(days=1))
            cancel_all(connection, store, hash_key(ATTACKER)[:KEY_ID_LENGTH])
        ends = time.monotonic() + IDLE_S
        while self._parts.api.cpu_percent(interval=0.5) > IDLE_CPU and time.monotonic() < ends:
            pass


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of attacks for each row")
    parser.add_argument("--only", default="", help="part of the kinds of attacks")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    arguments = parser.parse_args()
    attacks = [attack for attack in ATTACKS if arguments.only in attack.kind]
    strangers = [attack for attack in attacks if attack.is_of_stranger]
    load = os.getloadavg()[0]
    with (
        silent_hosts(SILENT_HOSTS) as silent,
        running_receiver() as receiver,
        running_parts(KLEIN_ALLOW_HOSTS="127.0.0.1,localhost") as parts,
    ):
        victim = Victim(parts.url, VICTIM, receiver)
        run = Run(parts, victim, [host.port for host in silent], arguments.seconds)
        sys.stdout.write(HEADER + "\n")
        run.row("none", ())
        for attack in attacks:
            run.row(attack.kind, (attack,))
        run.row("all of a stranger", strangers)
        run.row("all", attacks)
    for fault in run.faults[:10]:
        sys.stdout.write(f"FAULT {fault}\n")
    section = render_section(run.rows, arguments.seconds, load, len(run.faults))
    sys.stdout.write(section.partition("\n| Attack")[0] + "\n")
    if arguments.write:
        write_section(REPORT, "Abuse", section)
    sys.exit(1 if run.faults else 0)


if __name__ == "__main__":
    main()

"""Renders what `python -m tests.abuse` has measured, for docs/reliability.md."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.abuse.usage import Peak
from tests.abuse.victim import STEPS, Measured

MAX_RATIO = 3.0
REQUESTS = ("create", "poll")
"""The steps whose p99 is compared. The end and the webhook also wait for the worker, whom the keys share in turns."""
INTRODUCTION = """`tests/abuse` attacks the running processes with the key of one caller, or without a key, and asserts counts and bounds. Each of its tests was
seen to fail without the protection that it holds. [SECURITY.md](../SECURITY.md) lists the protections.

`make abuse SECONDS=20` runs each attack, all that need no key, and all together, beside a victim with a key of its own, and writes
this section. The victim lives through one prediction after the other: it creates, polls and receives the webhook. Beside that it creates a prediction every
50 ms, reads it and cancels it. Rounds of five seconds without and with the attack alternate. The attacks come from a process of the
lowest priority on the same machine. The run fails if anything of the victim's was lost, or if the API used more than 300 MB.
"""
HEADER = (
    f"| Attack | {' | '.join(f'{step} (ms)' for step in STEPS)} | creates | attacks | memory of the API |\n"
    f"|---|{'---|' * (len(STEPS) + 3)}"
)
LEGEND = """A cell has p50 and p99 without the attack, then p50 and p99 with it, then how many times as high the p99 is. The column of creates counts
those measured with the attack. With a full queue and one worker the victim waits for one turn, which is a batch of the attacker's
predictions."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a victim noticed of some attacks."""

    name: str
    calm: Measured
    attacked: Measured
    attacks: int
    peak: Peak

    def ratio(self, step: str) -> float:
        """Return how many times as high the p99 of a step is with the attack."""
        return self.attacked.percentile_s(step, 99) / self.calm.percentile_s(step, 99)

    @property
    def is_within(self) -> bool:
        """Return whether the requests of the victim took at most MAX_RATIO times as long at p99."""
        return all(self.ratio(step) <= MAX_RATIO for step in REQUESTS)

    def render(self) -> str:
        """Return the line of the table."""
        cells = [self._cell(step) for step in STEPS]
        count = len(self.attacked.steps["create"])
        mb = self.peak.rss_bytes / 2**20
        return f"| {self.name} | {' | '.join(cells)} | {count} | {self.attacks} | {mb:.0f} MB |"

    def _cell(self, step: str) -> str:
        calm, attacked = (
            ", ".join(f"{measured.percentile_s(step, p) * 1000:.0f}" for p in (50, 99))
            for measured in (self.calm, self.attacked)
        )
        return f"{calm} → {attacked} ({self.ratio(step):.1f})"


def render_section(rows: Sequence[Row], seconds: float, load: float, faults: int) -> str:
    """Return the section of the report."""
    over = [row.name for row in rows if not row.is_within]
    verdict = (
        f"Creates and polls of all {len(rows)} rows stay within {MAX_RATIO:g} times their p99 without the attack."
        if not over
        else f"Creates and polls of {len(rows) - len(over)} of {len(rows)} rows stay within {MAX_RATIO:g} times their p99 without the "
        f"attack. These do not: {', '.join(over)}."
    )
    lost = "Nothing of the victim's was lost." if not faults else f"There were {faults} faults."
    measured = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with {seconds:g} s of attacks for each row, on {os.cpu_count()} cores with a load of "
        f"{load:.1f} at the start. {verdict} {lost}"
    )
    table = "\n".join([HEADER, *(row.render() for row in rows)])
    return f"{INTRODUCTION}\n{measured}\n\n{LEGEND}\n\n{table}\n"

"""Runs the fuzz tests with new seeds until the time is over, and prints how to reproduce each failure.

`python -m tests.fuzz --minutes 10` exits with 1 if a test failed. `make test` runs a short form.
"""

import argparse
import random
import re
import sys
import time
from pathlib import Path

from tests.support import processes

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", re.MULTILINE)
_CASES = re.compile(r"(\d+) passing, (\d+) failing")


def run_round(seed: int) -> str:
    """Run every test once with one seed, and return the output of pytest."""
    run = processes.run(
        [
            *(sys.executable, "-m", "pytest", str(FOLDER), "-q", "-m", "fuzz"),
            *("--hypothesis-profile=long", f"--hypothesis-seed={seed}"),
            "--hypothesis-show-statistics",
        ],
        cwd=ROOT,
        timeout_s=3600,
    )
    if run.returncode not in {0, 1}:
        sys.exit(run.stdout + run.stderr)
    return run.stdout


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one round after another until the time is over. The last round is completed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    arguments = parser.parse_args()
    started = time.monotonic()
    failed_seeds: dict[str, int] = {}
    cases = rounds = 0
    while not rounds or time.monotonic() - started < arguments.minutes * 60:
        seed = arguments.seed + rounds
        output = run_round(seed)
        rounds += 1
        count = sum(int(passed) + int(failed) for passed, failed in _CASES.findall(output))
        cases += count
        failures = set(_FAILED.findall(output))
        say(f"round {rounds}, seed {seed}: {count} cases, {len(failures)} failed")
        if failures - failed_seeds.keys():
            say(output.partition("= Hypothesis Statistics =")[0])
        for test in sorted(failures - failed_seeds.keys()):
            failed_seeds[test] = seed
    minutes = (time.monotonic() - started) / 60
    say(
        f"{cases} cases in {rounds} rounds and {minutes:.1f} minutes; {len(failed_seeds)} tests failed"
    )
    for test, seed in failed_seeds.items():
        options = f"--hypothesis-profile=long --hypothesis-seed={seed}"
        say(f"reproduce: pytest {test!r} {options}")
    sys.exit(1 if failed_seeds else 0)


if __name__ == "__main__":
    main()

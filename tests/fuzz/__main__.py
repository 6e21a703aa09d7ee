"""The long form of these tests: fresh seeds until the time is over, and how to see again what was found.

`python -m tests.fuzz --minutes 10` ends with 1 where anything was found. `make test` runs the short form.
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


def play(seed: int) -> str:
    """Run every test once with one seed, and give what pytest said."""
    done = processes.run(
        [
            *(sys.executable, "-m", "pytest", str(FOLDER), "-q", "-m", "fuzz"),
            *("--hypothesis-profile=long", f"--hypothesis-seed={seed}"),
            "--hypothesis-show-statistics",
        ],
        cwd=ROOT,
        timeout_s=3600,
    )
    if done.returncode not in {0, 1}:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Play round after round; each is played to its end."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--minutes", type=float, default=10)
    given.add_argument("--seed", type=int, default=random.randrange(2**31))
    asked = given.parse_args()
    started = time.monotonic()
    found: dict[str, int] = {}
    cases = rounds = 0
    while not rounds or time.monotonic() - started < asked.minutes * 60:
        seed = asked.seed + rounds
        said = play(seed)
        rounds += 1
        count = sum(int(passed) + int(failed) for passed, failed in _CASES.findall(said))
        cases += count
        failures = set(_FAILED.findall(said))
        say(f"round {rounds}, seed {seed}: {count} cases, {len(failures)} failed")
        if failures - found.keys():
            say(said.partition("= Hypothesis Statistics =")[0])
        for test in sorted(failures - found.keys()):
            found[test] = seed
    minutes = (time.monotonic() - started) / 60
    say(f"{cases} cases in {rounds} rounds and {minutes:.1f} minutes; found: {len(found)}")
    for test, seed in found.items():
        again = f"--hypothesis-profile=long --hypothesis-seed={seed}"
        say(f"see it again: pytest {test!r} {again}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

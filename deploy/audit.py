"""Look for known holes in the pinned dependencies, with pip-audit; `make audit`.

Where no advisory can be had (no network, or an index that has none) it says so and does not fail: what was not looked at
is named, and never counts as clean.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"


def audit(lock: Path) -> int:
    """Print what is known of each pinned version; 1 where a hole is."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--format", "json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own words
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        print(f"SKIPPED: pip-audit could not ask for advisories: {last[0]}")
        return 0
    return report(found)


def report(found: list[dict[str, Any]]) -> int:
    """Print what pip-audit found; 1 where a hole is."""
    unknown = [d for d in found if "skip_reason" in d]
    holes = [(d, v) for d in found for v in d.get("vulns") or ()]
    for dependency, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{dependency['name']} {dependency['version']}: {hole['id']}, fixed in {fixed}")
    if unknown:
        words = (
            "SKIPPED: all" if len(unknown) == len(found) else f"not looked at: {len(unknown)} of"
        )
        print(f"{words} {len(found)} packages, e.g. {unknown[0]['skip_reason']}")
    print(f"{len(found) - len(unknown)} packages looked at, {len(holes)} known holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(audit(LOCK))

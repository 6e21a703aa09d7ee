"""Checks the pinned dependencies for known vulnerabilities with pip-audit. `make audit` runs it.

Packages without advisories (no network, or an index that offers none) are reported as skipped, not as clean, and do not
fail the command.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.support import processes

NOTHING = "!" * 20 + " NOTHING WAS CHECKED: this is not a clean result " + "!" * 20
LOCK = Path(__file__).parents[2] / "requirements.lock"


def audit(lock: Path) -> int:
    """Print the known vulnerabilities of each pinned version. Return 1 if there is one."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--format", "json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
    completed = processes.run(command, timeout_s=600)
    try:
        dependencies = json.loads(completed.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = completed.stderr.strip().splitlines()[-1:] or ["no answer"]
        print(f"SKIPPED: pip-audit could not fetch advisories: {last[0]}\n{NOTHING}")
        return 0
    return report(dependencies)


def report(dependencies: list[dict[str, Any]]) -> int:
    """Print the result of pip-audit. Return 1 if there is a vulnerability."""
    skipped = [d for d in dependencies if "skip_reason" in d]
    vulnerabilities = [(d, v) for d in dependencies for v in d.get("vulns") or ()]
    for dependency, vulnerability in vulnerabilities:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(
            f"{dependency['name']} {dependency['version']}: {vulnerability['id']}, fixed in {fixed}"
        )
    if skipped:
        total = len(dependencies)
        count = "all" if len(skipped) == total else f"{len(skipped)} of"
        print(f"SKIPPED: {count} {total} packages, e.g. {skipped[0]['skip_reason']}")
    checked = len(dependencies) - len(skipped)
    print(f"{checked} packages checked, {len(vulnerabilities)} known vulnerabilities")
    if not checked:
        print(NOTHING)
    return 1 if vulnerabilities else 0


if __name__ == "__main__":
    sys.exit(audit(LOCK))

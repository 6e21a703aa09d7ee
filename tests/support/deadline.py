"""Run a command for at most so many minutes. At the deadline, print which tests were running, kill them, and exit with 124.

`python -m tests.support.deadline --minutes 40 make test`
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.running_test import FOLDER

LATE = 124
"""The exit code at the deadline, as coreutils' `timeout` has it."""


def limited(
    command: processes.Command,
    limit_s: float,
    *,
    wait: Callable[[processes.Process, float], int] = processes.Process.wait,
    **options: Any,
) -> int:
    """Run a command until it ends or reaches its deadline. Return its exit code, or LATE."""
    with (
        tempfile.TemporaryDirectory(prefix="klein-running-") as folder,
        processes.started(command, env=os.environ | {FOLDER: folder}, **options) as process,
    ):
        try:
            return wait(process, limit_s)
        except subprocess.TimeoutExpired:
            sys.stdout.write(
                f"\nStopped after {limit_s / 60:g} minutes. {_running(Path(folder))}\n"
            )
            return LATE


def _running(folder: Path) -> str:
    """Describe the running tests, each with its process and its seconds so far."""
    now = time.time()
    lines = [
        f"  {file.read_text()} (process {file.name}, for {now - file.stat().st_mtime:.0f} s)"
        for file in sorted(folder.iterdir())
    ]
    return "\n".join(["These tests were running:", *lines]) if lines else "No test was running."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    sys.exit(limited(arguments.command, arguments.minutes * 60))

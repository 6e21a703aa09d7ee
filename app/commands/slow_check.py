"""Runs a slow check of `klein doctor` in a process of its own, says what it waits for, and limits the time."""

import subprocess
import sys
from collections.abc import Sequence

import click

from app.commands.findings import Finding, warning


def run_python(
    arguments: Sequence[str], doing: str, limit_s: float
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, after a line on stderr that says what is being done and for how long at most.

    Raises subprocess.TimeoutExpired.
    """
    click.echo(f"{doing}: up to {limit_s:.0f} s …", err=True)
    return subprocess.run(  # noqa: S603 -- our own interpreter and code
        [sys.executable, *arguments], capture_output=True, text=True, timeout=limit_s, check=False
    )


def unfinished(subject: str, text: str, advice: str) -> Finding:
    """Report a check that its limit ended, which a busy machine explains as well as a fault."""
    return warning(subject, text, f"if this machine is not busy, {advice}")

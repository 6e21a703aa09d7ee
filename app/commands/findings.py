"""What `klein doctor` finds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    words: str
    advice: str = ""


def ok(subject: str, words: str) -> Finding:
    """Say that all is well."""
    return Finding(level="ok", subject=subject, words=words)


def warning(subject: str, words: str, advice: str) -> Finding:
    """Say that it works, but perhaps not for long or not well."""
    return Finding(level="warning", subject=subject, words=words, advice=advice)


def problem(subject: str, words: str, advice: str) -> Finding:
    """Say that it does not work."""
    return Finding(level="problem", subject=subject, words=words, advice=advice)

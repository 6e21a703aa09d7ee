"""Defines the results of the checks of `klein doctor`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Report that a check passed."""
    return Finding(level="ok", subject=subject, text=text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Report something that works, but perhaps badly or not for long."""
    return Finding(level="warning", subject=subject, text=text, advice=advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Report something that does not work."""
    return Finding(level="problem", subject=subject, text=text, advice=advice)

"""A report in Markdown, of which each bench writes its own section and leaves the others alone."""

import re
from pathlib import Path


def write_head(report: Path, text: str) -> None:
    """Put the text before a report's first section in the place of the older one."""
    _, *sections = _parts(report)
    _write(report, [text, *sections])


def write_section(report: Path, title: str, text: str) -> None:
    """Put a section in the place of an older one, or at the end."""
    heading = f"## {title}\n"
    parts = _parts(report)
    place = next((k for k, part in enumerate(parts) if part.startswith(heading)), len(parts))
    parts[place : place + 1] = [f"{heading}\n{text}"]
    _write(report, parts)


def _parts(report: Path) -> list[str]:
    """Give the head, and each section with its heading."""
    return re.split(r"^(?=## )", report.read_text(), flags=re.MULTILINE)


def _write(report: Path, parts: list[str]) -> None:
    report.write_text("\n\n".join(part.strip() for part in parts) + "\n")

"""Writes a section of a Markdown report and keeps the others."""

import re
from pathlib import Path


def write_head(report: Path, text: str) -> None:
    """Replace the text before the first section."""
    _, *sections = _parts(report)
    _write(report, [text, *sections])


def write_section(report: Path, title: str, text: str) -> None:
    """Replace a section, or add it at the end."""
    heading = f"## {title}\n"
    parts = _parts(report)
    place = next((k for k, part in enumerate(parts) if part.startswith(heading)), len(parts))
    parts[place : place + 1] = [f"{heading}\n{text}"]
    _write(report, parts)


def _parts(report: Path) -> list[str]:
    """Split the report into its head and its sections with their headings."""
    return re.split(r"^(?=## )", report.read_text(), flags=re.MULTILINE)


def _write(report: Path, parts: list[str]) -> None:
    report.write_text("\n\n".join(part.strip() for part in parts) + "\n")

"""Tests of benchmark reports: each benchmark replaces only its own section."""

from pathlib import Path

from benchmarks.report import write_head, write_section


def test_section_is_replaced_or_appended(tmp_path: Path) -> None:
    """A head and a section replace the old ones in their place, and a new section is appended."""
    report = tmp_path / "report.md"
    report.write_text("# Old\n\n## One\n\n1\n\n## Two\n\n2\n")

    write_head(report, "# New\n")
    write_section(report, "One", "eins\n")
    write_section(report, "Three", "3")

    assert report.read_text() == "# New\n\n## One\n\neins\n\n## Two\n\n2\n\n## Three\n\n3\n"

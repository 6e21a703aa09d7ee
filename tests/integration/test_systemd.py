"""The unit in deploy/systemd, checked by systemd itself."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support import processes

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "klein.service"
EXPOSURE_MAX = 25
"""Tenths, of 10.0 at most. systemd calls up to 4.9 `OK`."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def test_the_unit_is_valid_and_restricted(tmp_path: Path) -> None:
    """systemd knows every line of the unit, and counts little that the service may do to the machine."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/klein/.venv/bin/klein", sys.executable))

    verified = processes.run(["systemd-analyze", "verify", "--man=no", str(unit)])
    rated = processes.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(unit)]
    )

    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    assert rated.returncode == 0, rated.stdout

"""Packages of extras: a part starts without them, and says what to install if a setting needs them."""

import sys

from tests.support import processes
from tests.support.certificates import make_signer

PROGRAM = """
import sys
from pathlib import Path
sys.modules["c2pa"] = None  # as if it were not installed
import worker.main
from worker.job.credentials import open_credentials
try:
    open_credentials(Path(sys.argv[1]), Path(sys.argv[2]))
except ValueError as exc:
    print(exc)
"""


def test_worker_needs_c2pa_only_with_a_certificate(tmp_path):
    """Without the extra `c2pa` a worker starts, and one with a certificate names the package and the command."""
    files = [str(file) for file in make_signer().write(tmp_path)]

    result = processes.run([sys.executable, "-c", PROGRAM, *files], check=True)

    assert result.stdout == (
        "KLEIN_C2PA_CERT is set, but the package c2pa is not installed: pip install '.[c2pa]'\n"
    )

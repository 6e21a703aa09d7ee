"""The secret of the signed file URLs, which the processes of one host share."""

import subprocess
import sys
from contextlib import ExitStack

from tests.support import processes

RACER = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from app.storage.links import open_links
for folder in sys.stdin:
    print(open_links(None, Path(folder.strip())).link("", "k", datetime(2126, 1, 1, tzinfo=UTC)))
"""


def test_concurrent_processes_create_one_secret(tmp_path):
    """Two processes that open the same new folders at the same time use the same secrets."""
    folders = "".join(f"{tmp_path / str(number)}\n" for number in range(100))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        racers = [
            stack.enter_context(processes.started([sys.executable, "-c", RACER], **pipes))
            for _ in range(2)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(folders)
            racer.stdin.close()
            racer.stdin = None
        first, second = (racer.communicate()[0] for racer in racers)

    assert first == second
    assert len(set(first.split())) == 100

"""Runs the commands of docs/cli.md, in order and in one folder."""

import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import processes
from tests.support.klein_server import Klein

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(300)  # thirteen commands, nine of which generate
def test_the_commands_run_as_documented(klein: Klein, tmp_path: Path) -> None:
    """Every block of shell commands runs, and writes the files that it names."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"KLEIN_URL": klein.url, "PATH": path, "PYTHONPATH": str(ROOT)}
    script = "".join(BLOCKS).replace("klein_…", klein.key)

    result = processes.run(
        ["bash", "-c", "set -eu -o pipefail\n" + script],
        cwd=tmp_path,
        env=os.environ | settings,
        timeout_s=280,
    )

    assert result.returncode == 0, result.stderr + result.stdout
    names = set(re.findall(r"\b[\w-]+\.(?:png|webp)\b", script)) - {"squares.png"}
    assert len(names) >= 7
    for name in names | {"squares-1.png", "squares-2.png"}:
        with Image.open(tmp_path / name) as image:
            image.load()

"""The code in docs/dialects.md works as documented."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import processes
from tests.support.klein_server import Klein

BLOCKS = re.findall(
    r"^## (.+?)$.*?```python\n(.+?)```",
    (Path(__file__).parents[2] / "docs" / "dialects.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("client", "code"), BLOCKS, ids=[client for client, _ in BLOCKS])
def test_client_example_generates_image(client, code, klein: Klein, tmp_path: Path) -> None:
    """Each example runs unchanged and writes an image that can be opened."""
    constants = f"URL, KEY = {klein.url!r}, {klein.key!r}\n"
    completed = processes.run([sys.executable, "-c", constants + code], cwd=tmp_path)

    assert completed.returncode == 0, completed.stderr
    [path] = tmp_path.iterdir()
    with Image.open(path) as image:
        image.load()

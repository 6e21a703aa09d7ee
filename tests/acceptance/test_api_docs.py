"""The examples in docs/api.md work as documented."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import processes
from tests.support.klein_server import Klein

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


def completed(command: list[str], klein: Klein, folder: Path) -> str:
    result = processes.run(
        command,
        cwd=folder,
        env=os.environ | {"URL": klein.url, "KEY": klein.key, "NO_PROXY": "*"},
        timeout_s=100,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def opened(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        image.load()
        return image.size


@pytest.mark.timeout(120)  # all examples, one after the other
def test_curl_examples(klein: Klein, tmp_path: Path) -> None:
    """The shell examples run one after the other, each to its end."""
    script = "set -eu -o pipefail\n" + "\n".join(blocks("sh")[1:])
    output = completed(["bash", "-c", script], klein, tmp_path)

    assert opened(tmp_path / "circle.png") == (512, 512)
    assert output.count('"status":"success"') >= 4
    assert "event: end" in output
    assert '"executions":[' in output
    assert '"https://example.com/webhook"' in output
    assert '"workers":[' in output


def test_python_example(klein: Klein, tmp_path: Path) -> None:
    """The Python example writes an image."""
    [code] = blocks("python")
    completed([sys.executable, "-c", code], klein, tmp_path)

    assert opened(tmp_path / "python.png") == (512, 512)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_javascript_example(klein: Klein, tmp_path: Path) -> None:
    """The JavaScript example writes an image."""
    [code] = blocks("js")
    (tmp_path / "example.mjs").write_text(code)
    completed(["node", "example.mjs"], klein, tmp_path)

    assert opened(tmp_path / "javascript.png") == (512, 512)

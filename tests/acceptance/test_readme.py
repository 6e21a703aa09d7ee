"""README's commands, run as they stand but for the address and what stands there for an answer's."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.asking import fetch, image_file
from tests.acceptance.klein import Klein

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# a new block belongs into a test below; `make up` is what a person does where the tests say `klein up`
UP, DRAW, UP_WITH_WEIGHTS, COMMANDS, EDIT, UPLOAD, FOLLOW = re.findall(
    r"^```sh\n(.+?)^```", README, re.MULTILINE | re.DOTALL
)
Shell = Callable[..., str]


@pytest.fixture
def shell(klein: Klein, tmp_path: Path) -> Shell:
    """Run a block with what its placeholders stand for."""
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    own = {"KEY": klein.key, "KLEIN_URL": klein.url, "NO_PROXY": "*"}

    def run(block: str, **stands_for: str) -> str:
        for word, value in stands_for.items():
            assert word in block
            block = block.replace(word, value)
        done = subprocess.run(
            ["bash", "-c", "set -eu\n" + block.replace("http://127.0.0.1:8000", klein.url)],
            cwd=tmp_path,
            env=os.environ | own | {"PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


def test_it_is_one_command() -> None:
    """Both ways to start are `make up`, the second with a setting that there is."""
    assert UP == "make up\n"
    assert re.fullmatch(r"KLEIN_WEIGHTS=\S+ make up\n", UP_WITH_WEIGHTS)


def test_curl_draws_edits_and_follows(shell: Shell, klein: Klein) -> None:
    """The first picture comes, is edited by its URL, and its stream of events ends with the picture."""
    drawn = json.loads(shell(DRAW))
    assert fetch(drawn["output"]).startswith(b"\x89PNG")

    edited = json.loads(shell(EDIT, URL=drawn["output"]))
    assert edited["status"] == "success"
    followed = shell(FOLLOW, ID=edited["predictionID"])
    assert followed.rstrip().rpartition("event: ")[2].startswith("end")
    assert edited["predictionID"] in followed


def test_curl_uploads(shell: Shell, tmp_path: Path) -> None:
    """A file is sent to the URL of the first answer, and is there."""
    presign, send = UPLOAD.splitlines()
    (tmp_path / "in.png").write_bytes(image_file())
    slot = json.loads(shell(presign))
    shell(send.replace("PRESIGNED_URL", slot["presigned_url"]), ID=slot["id"])

    assert fetch(slot["public_url"]) == image_file()


def test_klein_predicts(shell: Shell, klein: Klein, tmp_path: Path) -> None:
    """The commands leave both pictures."""
    shell(COMMANDS, **{"klein_…": klein.key})

    for name in ("circle.png", "green.png"):
        with Image.open(tmp_path / name) as image:
            image.load()

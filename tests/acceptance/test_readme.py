"""Runs the commands and examples of README.md unchanged, except for address and key."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support import processes
from tests.support.api_client import fetch
from tests.support.klein_server import Klein

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", README, re.MULTILINE | re.DOTALL)


# each new block needs a test below
UP, UP_WITH_WEIGHTS, DOCKER, CLUSTER, CURL, COMMANDS = _blocks("sh")
OPENAI, REPLICATE = _blocks("python")
Run = Callable[..., str]


@pytest.fixture
def run(klein: Klein, tmp_path: Path) -> Run:
    """Run an example against the running server, in an empty folder."""
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    environ = os.environ | {
        "KEY": klein.key,
        "KLEIN_URL": klein.url,
        "NO_PROXY": "*",
        "PATH": path,
        "PYTHONPATH": str(ROOT),
    }

    def run(*command: str) -> str:
        *program, script = command
        result = processes.run(
            [*program, script.replace("http://127.0.0.1:8000", klein.url)],
            cwd=tmp_path,
            env=environ,
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    return run


def _assert_image(file: Path) -> None:
    with Image.open(file) as image:
        image.load()


def test_laptop_blocks_use_make_up() -> None:
    """Both laptop blocks are `make up`, the second one with a setting."""
    assert UP == "make up\n"
    assert re.fullmatch(r"KLEIN_WEIGHTS=\S+ make up\n", UP_WITH_WEIGHTS)


def test_docker_block_follows_deployment_guide() -> None:
    """The Docker block has three lines, which stand in docs/deploying.md, and the script that it runs exists."""
    lines = DOCKER.splitlines()

    assert len(lines) == 3
    assert [line for line in lines if line not in DEPLOYING] == []
    assert os.access(ROOT / lines[0].split()[0], os.X_OK)


def test_cluster_commands_follow_deployment_guide() -> None:
    """Each kubectl line stands in docs/deploying.md, and the manifests that it names exist."""
    for line in CLUSTER.splitlines():
        assert line in DEPLOYING
    for path in re.findall(r"deploy/k8s/\S+", CLUSTER):
        assert path == "deploy/k8s/secrets" or (ROOT / path).exists()


def test_curl_example_generates_image(run: Run) -> None:
    """The each::labs example returns the URL of a PNG file."""
    response = json.loads(run("bash", "-euc", CURL))

    assert fetch(response["output"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("code", "file"),
    [(OPENAI, "openai.png"), (REPLICATE, "replicate.jpg")],
    ids=["openai", "replicate"],
)
def test_vendor_client_example_generates_image(code, file, run: Run, tmp_path: Path) -> None:
    """The example with the vendor's own client writes an image file."""
    run(sys.executable, "-c", code)

    _assert_image(tmp_path / file)


def test_predict_command_generates_and_edits(run: Run, tmp_path: Path) -> None:
    """`klein predict` writes the image and the edit of it."""
    run("bash", "-euc", COMMANDS)

    _assert_image(tmp_path / "circle.png")
    _assert_image(tmp_path / "green.png")

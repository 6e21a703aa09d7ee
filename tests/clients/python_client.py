"""Runs the operations of a script in tests/clients/python, with packages of its own, against a server.

The packages stand in a folder of their own, because two versions of one client cannot be installed together.
"""

import base64
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.api_client import image_file
from tests.support.klein_server import Klein
from tests.support.node_packages import direct_environment

FOLDER = Path(__file__).parent / "python"
INSTALL_S = 120
RUN_S = 120


def _packages() -> Path:
    """Install the pinned packages once for each list of them, without what this environment has."""
    requirements = FOLDER / "requirements.txt"
    name = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    packages = FOLDER.parent / "node" / "node_modules" / f".python-{name}"  # ignored by git
    if not (packages / "done").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        command = [*pip, "--target", str(packages), "--requirement", str(requirements)]
        processes.run(command, check=True, timeout_s=INSTALL_S)
        (packages / "done").touch()
    return packages


@cache
def run_all(klein: Klein, module: str) -> dict[str, Any]:
    """Run every operation of a module once, and return what each gave: `answer` or `error`."""
    image = base64.b64encode(image_file(128, 64)).decode()
    completed = processes.run(
        [sys.executable, str(FOLDER / "run.py"), module],
        input=json.dumps({"url": klein.url, "key": klein.key, "image": image}),
        env=direct_environment() | {"PYTHONPATH": str(_packages())},
        timeout_s=RUN_S,
    )
    assert completed.returncode == 0, completed.stderr
    results: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return results

"""Runs the operations of a script in tests/clients/python, with packages of its own, against a server.

The packages stand in folders of their own, because two versions of one client cannot be installed together, and the
frameworks are large.
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
INSTALL_S = 300
SMALL = (
    "replicate_2",
    "webui",
)  # modules whose packages are in requirements.txt, not in frameworks.txt
RUN_S = 120


@cache
def run_all(klein: Klein, module: str) -> dict[str, Any]:
    """Run every operation of a module once, and return what each gave: `answer` or `error`."""
    return run_operations(klein.url, klein.key, module)


def run_operations(url: str, key: str, module: str, **environment: str) -> dict[str, Any]:
    """Run every operation of a module against a server, with these environment variables."""
    packages = installed("requirements.txt" if module in SMALL else "frameworks.txt")
    image = base64.b64encode(image_file(128, 64)).decode()
    completed = processes.run(
        [sys.executable, str(FOLDER / "run.py"), module],
        input=json.dumps({"url": url, "key": key, "image": image}),
        env=direct_environment() | {"PYTHONPATH": str(packages)} | environment,
        timeout_s=RUN_S,
    )
    assert completed.returncode == 0, completed.stderr
    results: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return results


def installed(file: str) -> Path:
    """Return the folder of the pinned packages of a list, which are installed if they are not yet."""
    requirements = FOLDER / file
    name = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    packages = Path(sys.prefix) / "clients" / name
    if not (packages / "done").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        command = [*pip, "--target", str(packages), "--requirement", str(requirements)]
        processes.run(command, check=True, timeout_s=INSTALL_S)
        (packages / "done").touch()
    return packages

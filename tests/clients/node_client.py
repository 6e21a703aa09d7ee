"""Runs the operations of a script in tests/clients/node, all in one process, against a server."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.api_client import image_file
from tests.support.klein_server import Klein
from tests.support.node_packages import NODE, direct_environment, installed

FOLDER = Path(__file__).parent / "node"
RUN_S = 120


@cache
def run_all(klein: Klein, module: str) -> dict[str, Any]:
    """Run every operation of a module once, and return what each gave: `answer` or `error`."""
    folder = installed(FOLDER)
    server = {
        "url": klein.url,
        "key": klein.key,
        "image": base64.b64encode(image_file(128, 64)).decode(),
    }
    completed = processes.run(
        [NODE, str(folder / "run.mjs"), module],
        input=json.dumps(server),
        env=direct_environment(),
        cwd=folder,
        timeout_s=RUN_S,
    )
    assert completed.returncode == 0, completed.stderr
    results: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return results

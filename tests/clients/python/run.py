"""Runs every operation of one module against a server: python run.py MODULE < {"url", "key", "image"}.

The last line of the output is {OPERATION: {answer} or {error}}.
"""

import importlib
import json
import sys
from typing import Any

server = json.load(sys.stdin)
results: dict[str, Any] = {}
for name, operation in importlib.import_module(sys.argv[1]).operations(**server).items():
    try:
        results[name] = {"answer": operation()}
    except Exception as exc:  # noqa: BLE001 -- what the client shows is the result
        results[name] = {"error": str(exc)}
print("\n" + json.dumps(results))  # noqa: T201 -- the output of the command

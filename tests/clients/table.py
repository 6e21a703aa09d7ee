"""Makes the table of clients and operations in docs/clients.md from their operations: `python -m tests.clients.table`."""

import json
import re
from pathlib import Path

from tests.clients.operations import (
    BFL,
    FAL,
    FAL_BY_TLS,
    FRAMEWORKS,
    OPENAI,
    REPLICATE,
    WEB_UI,
    Table,
)

ROOT = Path(__file__).parents[2]
DATE = "2026-11-29"  # of the last run against these versions
OPERATIONS: Table = {**REPLICATE, **OPENAI, **BFL, **FAL, **FAL_BY_TLS, **WEB_UI, **FRAMEWORKS}
NODE = {  # packages by the name of their script
    "replicate": ("replicate",),
    "ai-sdk-replicate": ("@ai-sdk/replicate",),
    "replicate-mcp": ("replicate-mcp",),
    "openai": ("openai",),
    "openai6": ("openai6",),
    "ai-sdk-openai": ("@ai-sdk/openai", "@ai-sdk/openai-compatible"),
    "tanstack": ("@tanstack/ai-openai",),
    "ai-sdk-bfl": ("@ai-sdk/black-forest-labs",),
    "fal": ("@fal-ai/client",),
}
PYTHON = {
    "replicate_2": "replicate",
    "webui": "webuiapi",
    "fal_python": "fal-client",
    "litellm_images": "litellm",
    "haystack_images": "haystack-ai",
    "langchain_images": "langchain-community",
    "agno_tools": "agno",
}


def make_table() -> str:
    """Return the table as Markdown."""
    rows = [
        f"| {_client(name)} | {', '.join(operations)} |" for name, operations in OPERATIONS.items()
    ]
    return "\n".join([f"| Client | Operations that pass, {DATE} |", "|---|---|", *rows])


def _client(name: str) -> str:
    if name in NODE:
        packages = json.loads((ROOT / "tests/clients/node/package.json").read_text())
        versions = [(p, packages["dependencies"][p].rpartition("@")[2]) for p in NODE[name]]
        return ", ".join(f"npm `{p.replace('openai6', 'openai')}` {v}" for p, v in versions)
    files = sorted((ROOT / "tests/clients/python").glob("*.txt"))
    package = PYTHON[name]
    pinned = "\n".join(file.read_text() for file in files)
    found = re.search(rf"^{package}==(\S+)", pinned, re.MULTILINE)
    assert found is not None
    return f"PyPI `{package}` {found[1]}"


if __name__ == "__main__":
    print(make_table())  # noqa: T201 -- the output of the command

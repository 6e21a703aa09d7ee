"""Conventions of the tests themselves, read from their source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS_PROCESSES = "tests/support/processes.py"
STARTERS = {
    "subprocess": {"Popen", "run", "call", "check_call", "check_output", "getoutput"},
    "os": {"system", "popen", "fork", "posix_spawn", "spawnv"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "multiprocessing": {"Process", "Pool"},
}


def starters(source: str) -> list[str]:
    """Return each place in a source that starts a process, with its line."""
    places = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names} & STARTERS.get(node.module or "", set())
            places += [f"{node.lineno}: {node.module}.{name}" for name in sorted(names)]
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr in STARTERS.get(node.value.id, set())
        ):
            places.append(f"{node.lineno}: {node.value.id}.{node.attr}")
    return places


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_only_one_module_starts_processes(folder: str) -> None:
    """Only `tests.support.processes`, which ends every process, starts processes."""
    files = {str(file.relative_to(ROOT)): file for file in (ROOT / folder).rglob("*.py")}
    wrong = {name: starters(file.read_text()) for name, file in files.items()}

    assert {
        name: lines for name, lines in wrong.items() if lines and name != STARTS_PROCESSES
    } == {}


def test_process_calls_are_detected() -> None:
    """Calls, references and imports that start a process are found, and constants are not."""
    source = """
import subprocess
from os import fork
subprocess.run(["true"], stdout=subprocess.PIPE)
pool.submit(subprocess.Popen, ["true"])
"""

    assert starters(source) == ["3: os.fork", "4: subprocess.run", "5: subprocess.Popen"]


FOREIGN_SETTINGS = {"_PING_INTERVAL"}
"""Private names of other people's packages that tests must set, as there is no public way."""


def patched_names(source: str) -> list[str]:
    """List the private names that a source reads or sets by a string. Ruff's SLF001 finds all others."""
    return [
        str(node.args[1].value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("getattr", "setattr", "delattr"))
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
        and str(node.args[1].value).startswith("_")
    ]


def test_no_private_name_is_patched() -> None:
    """No test replaces a private function, method or value: where one needs to, the code has a parameter for it."""
    sources = [file.read_text() for file in (ROOT / "tests").rglob("*.py")]

    assert {name for source in sources for name in patched_names(source)} <= FOREIGN_SETTINGS
    assert patched_names('monkeypatch.setattr(module, "_own", None)') == ["_own"]

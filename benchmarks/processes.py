"""Starts the processes to measure, each on a free port."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Process, started, stop

KEY = "bench-key-of-more-than-thirty-two-characters"


def free_port() -> int:
    """Return an unused port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def process(
    arguments: list[str], *, python: str = sys.executable, **environ: str
) -> Iterator[Process]:
    """Run a Python process, and what it starts, while the body runs. Print the end of its log if the body fails."""
    with (
        tempfile.TemporaryFile() as log,
        started(
            [python, *arguments],
            env=os.environ | environ,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as running,
    ):
        try:
            yield running
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            stop(running, 60)


def wait_for_port(port: int, running: Process) -> None:
    """Wait until the process listens on the port."""
    for _ in range(6000):  # five minutes, because on a busy machine a model loads for long
        if running.poll() is not None:
            raise RuntimeError("the process ended before it listened")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no process listens on {port}")


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def listening(command: str, **environ: str) -> Iterator[tuple[int, Process]]:
    """Run `klein up` or `klein api` with a data folder of its own. Yield its port and process when it listens."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="klein-") as data,
        process(
            ["-m", "app.cli", command],
            KLEIN_DATA=data,
            KLEIN_PORT=str(port),
            KLEIN_API_KEYS=KEY,
            **environ,
        ) as running,
    ):
        wait_for_port(port, running)
        yield port, running

"""klein as shipped: `klein up` in a process of its own, and a client with its key."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support import processes
from tests.support.api_client import until

STARTED_S = 150  # a busy machine takes long, and only a start that fails takes this long
_TELLING = {
    "redis": "redis.sock",
    "api": "app.cli api",
    "worker": "app.cli worker",
    "courier": "app.cli courier",
    "engine": "worker.engine_process.main",
}
"""Text in each process's command line that identifies it."""


class Klein:
    """A running process tree."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.key = "test-key-of-more-than-thirty-two-characters"
        self.other_key = "other-key-of-more-than-thirty-two-characters"
        self.folder = folder
        self.working_directory: Path | None = None
        self.log: list[str] = []
        self._process: processes.Process | None = None
        self.environ = os.environ | {
            "KLEIN_PORT": str(port),
            "KLEIN_DATA": str(folder),
            "KLEIN_API_KEYS": f"{self.key},{self.other_key}",
            **settings,
        }

    @property
    def process(self) -> processes.Process:
        """The `klein up` process that is running, or the last one that ran."""
        assert self._process is not None
        return self._process

    def launch(self) -> None:
        """Start the processes without waiting for them."""
        self._ready = threading.Event()
        self._process = processes.start(
            [sys.executable, "-P", "-m", "app.cli", "up"],
            cwd=self.working_directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all running processes. Kill those that do not stop in time."""
        if self._process is None:
            return
        try:
            if self._process.poll() is None:
                self.stop()
        finally:
            processes.end(self._process)

    def start(self) -> None:
        self.launch()
        assert self._ready.wait(STARTED_S), "\n".join(self.log)
        assert self.process.poll() is None, "\n".join(self.log)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait until `klein up` exits, and return the exit code."""
        code = self.process.wait(STARTED_S)
        self._reader.join()
        return code

    def parts(self) -> list[psutil.Process]:
        """List the processes below `klein up`."""
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def part(self, name: str) -> psutil.Process | None:
        """Return the process of redis, api, worker or courier, or of the engine below the worker."""
        for process in self.parts():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if _TELLING[name] in " ".join(process.cmdline()):
                    return process
        return None

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=60, trust_env=False
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.log.append(line.rstrip())
                if line.startswith("klein is ready"):
                    self._ready.set()
        self._ready.set()


@contextmanager
def running_klein(weights: Path | str, **settings: str) -> Iterator[Klein]:
    with (
        tempfile.TemporaryDirectory(prefix="klein-") as folder,
        Klein(Path(folder), KLEIN_WEIGHTS=str(weights), **settings) as klein,
    ):
        klein.start()
        yield klein


@contextmanager
def served(redis_url: str, data: Path) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """Serve an app in this process, so that the test can inspect it. Yields it with a client."""
    app = create_app(Settings(data=data, redis_url=redis_url, api_keys=("k",)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, headers={"X-API-Key": "k"}, trust_env=False) as client:
                yield app, client
        finally:
            server.should_exit = True
            thread.join()

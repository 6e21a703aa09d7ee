"""klein as it ships: `klein up` in a process of its own, and a client that holds its key."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

STARTED_S = 60


class Klein:
    """A running tree of processes."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.key = "test-key"
        self.other_key = "other-key"
        self.folder = folder
        self.log: list[str] = []
        self._ready = threading.Event()
        self._environ = os.environ | {
            "KLEIN_PORT": str(port),
            "KLEIN_DATA": str(folder),
            "KLEIN_API_KEYS": f"{self.key},{self.other_key}",
            **settings,
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(STARTED_S), "\n".join(self.log)
        assert self.process.poll() is None, "\n".join(self.log)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STARTED_S)
        self._reader.join()
        return code

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
def running_klein(weights: Path, **settings: str) -> Iterator[Klein]:
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        klein = Klein(Path(folder), KLEIN_WEIGHTS=str(weights), **settings)
        klein.start()
        try:
            yield klein
        finally:
            klein.stop()

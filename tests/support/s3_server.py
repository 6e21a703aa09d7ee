"""A real S3 server for tests: SeaweedFS on free ports, in a folder of its own."""

import os
import shutil
import signal
import socket
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import obstore
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support import processes
from tests.support.api_client import until

USER, SECRET = "klein", "s3-secret-of-the-tests"
_PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")


class S3Server:
    """One server and its data. It can be killed, paused, and started again."""

    def __init__(self, folder: Path, volumes: int = 8, volume_mb: int = 64) -> None:
        with ExitStack() as stack:
            free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
            ports = dict(zip(_PORTS, (s.getsockname()[1] for s in free), strict=True))
        self.url = f"http://127.0.0.1:{ports['s3']}"
        self.environ = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        self._log = folder / "log"
        binary = Path(sysconfig.get_path("scripts")) / "weed"
        self._command = [
            str(binary),
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
            f"-filer.localSocket={folder}/filer.sock",
            "-filer",
            "-s3",
            "-s3.iam=false",
            "-s3.port.iceberg=0",  # their ports are fixed, and two servers would conflict
            "-s3.port.lance=0",
            "-master.telemetry=false",
            f"-master.volumeSizeLimitMB={volume_mb}",
            f"-volume.max={volumes}",
            *(
                f"-{name.replace('.', '.port.') if '.' in name else name + '.port'}={port}"
                for name, port in ports.items()
            ),
        ]
        self._process: processes.Process | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and wait until it accepts a file."""
        with self._log.open("ab") as log:
            self._process = processes.start(
                self._command, env=os.environ | self.environ, stdout=log, stderr=log
            )
        while not self._answers():  # the test's own time limit ends this loop
            assert self._process.poll() is None, self._log.read_text()[-2000:]

    def kill(self) -> None:
        """Kill the server, as a crash does."""
        assert self._process is not None
        processes.end(self._process)

    def pause(self) -> None:
        """Accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        process = psutil.Process(self._process.pid)
        until(lambda: process.status() == psutil.STATUS_STOPPED)

    def go_on(self) -> None:
        """End a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        store = S3Store(
            "klein",
            endpoint=self.url,
            access_key_id=USER,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "started", b"yes")
        except (BaseError, OSError):
            threading.Event().wait(0.05)
            return False
        return True


@contextmanager
def running_s3(volumes: int = 8, volume_mb: int = 64) -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="klein-s3-", ignore_cleanup_errors=True) as folder:
        server = S3Server(Path(folder), volumes, volume_mb)
        try:
            server.start()
            yield server
        finally:
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)

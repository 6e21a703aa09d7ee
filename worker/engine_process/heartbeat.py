"""Tells the worker that the engine process is alive while it works."""

import threading
import time

from worker.engine_process.connection import EngineConnection
from worker.engine_process.orphan import end_orphan
from worker.engine_process.protocol import Beat

BEAT_S = 1.0


class Heartbeat:
    """Sends a beat each second while the process works, from a thread that the work neither holds up nor wakes."""

    def __init__(self, connection: EngineConnection, period_s: float = BEAT_S) -> None:
        self._connection = connection
        self._period_s = period_s
        self._is_working = False

    def start(self) -> None:
        """Start the thread. It ends with the process, and ends the process if the worker is gone."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def __enter__(self) -> None:
        """Beat during the block. Otherwise nobody reads the socket."""
        self._is_working = True

    def __exit__(self, *_: object) -> None:
        self._is_working = False

    def _run(self) -> None:
        while True:
            time.sleep(self._period_s)
            if self._is_working:
                try:
                    self._connection.send(Beat())
                except OSError:
                    end_orphan()

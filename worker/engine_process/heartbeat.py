"""Tells the worker that the engine process is alive while it works."""

import contextlib
import threading
import time
from queue import SimpleQueue

from worker.engine_process.connection import EngineConnection
from worker.engine_process.protocol import Beat

BEAT_S = 1.0


class Heartbeat:
    """Sends a beat each second while the process works, from a thread that the work does not hold up."""

    def __init__(self, connection: EngineConnection, period_s: float = BEAT_S) -> None:
        self._connection = connection
        self._period_s = period_s
        self._is_working = False
        self._begun: SimpleQueue[None] = SimpleQueue()  # what wakes the thread

    def start(self) -> None:
        """Start the thread. It ends with the process."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def __enter__(self) -> None:
        """Beat during the block. Otherwise nobody reads the socket."""
        self._is_working = True
        if self._begun.empty():  # else it is on its way
            self._begun.put(None)

    def __exit__(self, *_: object) -> None:
        self._is_working = False

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, and the inbox ends this process
            while True:
                self._begun.get()
                while self._is_working:
                    self._connection.send(Beat())
                    time.sleep(self._period_s)

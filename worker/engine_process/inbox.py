"""The inbox of the engine process: requests and cancels that came from the worker."""

import os
import queue
import threading
import traceback

from worker.engine_process.connection import EngineConnection
from worker.engine_process.free_memory import return_free_memory
from worker.engine_process.protocol import Cancel, Generate

IDLE_S = 30.0
"""Time without a batch after which free memory is returned. The next image takes 10 to 30 ms longer, on a CPU."""


class Inbox:
    """Reads the socket in its own thread, so that it sees a cancel or a closed socket at once."""

    def __init__(self, connection: EngineConnection, idle_s: float = IDLE_S) -> None:
        self._connection = connection
        self._idle_s = idle_s
        self._requests: queue.SimpleQueue[Generate] = queue.SimpleQueue()
        self._cancelled: set[str] = set()

    def start(self) -> None:
        """Start to read. The process ends when the worker closes the socket."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> tuple[Generate, ...]:
        """Wait for the next batch, and forget the cancels of earlier batches. Returns free memory when idle."""
        try:
            first = self._requests.get(timeout=self._idle_s)
        except queue.Empty:
            return_free_memory()
            first = self._requests.get()
        batch = (first, *(self._requests.get() for _ in range(first.batch_remaining)))
        self._cancelled &= {request.id for request in batch}
        return batch

    def is_cancelled(self, request_id: str) -> bool:
        """Return whether the worker cancelled this request."""
        return request_id in self._cancelled

    def _read(self) -> None:
        try:
            while True:
                message, _fd = self._connection.receive()
                if isinstance(message, Generate):
                    self._requests.put(message)
                elif isinstance(message, Cancel):
                    self._cancelled.add(message.id)
        except (EOFError, OSError):
            pass
        except BaseException:  # the process must not run on without this thread
            traceback.print_exc()
            raise
        finally:
            os._exit(0)  # the worker is gone, and the main thread may be inside a kernel

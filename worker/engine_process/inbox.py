"""The inbox of the engine process: requests and cancels that came from the worker."""

from collections import deque

from worker.engine_process.connection import EngineConnection
from worker.engine_process.free_memory import return_free_memory
from worker.engine_process.orphan import end_orphan
from worker.engine_process.protocol import Cancel, Generate

IDLE_S = 30.0
"""Time without a batch after which free memory is returned. The next image takes 10 to 30 ms longer, on a CPU."""


class Inbox:
    """Reads the socket, for the thread that generates. The process ends once the worker has closed it."""

    def __init__(self, connection: EngineConnection, idle_s: float = IDLE_S) -> None:
        self._connection = connection
        self._idle_s = idle_s
        self._requests: deque[Generate] = deque()
        self._cancelled: set[str] = set()

    def next(self) -> tuple[Generate, ...]:
        """Wait for the next batch, and forget the cancels of earlier batches. Returns free memory when idle."""
        first = self._next_request()
        batch = (first, *(self._next_request() for _ in range(first.batch_remaining)))
        self._cancelled &= {request.id for request in batch}
        return batch

    def is_cancelled(self, request_id: str) -> bool:
        """Read what the worker has sent, and return whether it has cancelled this request."""
        while self._receive(0):
            pass
        return request_id in self._cancelled

    def _next_request(self) -> Generate:
        timeout_s: float | None = self._idle_s
        while not self._requests:
            if not self._receive(timeout_s):
                return_free_memory()
                timeout_s = None
        return self._requests.popleft()

    def _receive(self, timeout_s: float | None) -> bool:
        """Keep the next message. Returns False if none comes for that long."""
        try:
            message, _ = self._connection.receive(timeout_s)
        except TimeoutError:
            return False
        except (EOFError, OSError):
            end_orphan()
        if isinstance(message, Generate):
            self._requests.append(message)
        elif isinstance(message, Cancel):
            self._cancelled.add(message.id)
        return True

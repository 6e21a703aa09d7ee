"""Look-ups of names with a time limit: the system's own has none, and cannot be stopped."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from typing import Any

LOOKUP_S = 5.0
STUCK_MOST = 32  # look-ups that nobody waits for any more, before new ones are refused

Answers = list[Any]


class DnsLookup:
    """`socket.getaddrinfo`, but for the time that it may take."""

    def __init__(
        self,
        within_s: float = LOOKUP_S,
        most: int = STUCK_MOST,
        look_up: Callable[..., Answers] = socket.getaddrinfo,
    ) -> None:
        self._within_s = within_s
        self._room = threading.BoundedSemaphore(most)
        self._look_up = look_up

    def __call__(self, *arguments: Any, **named: Any) -> Answers:
        """Look a name up. Raises OSError, also where it takes too long."""
        if not self._room.acquire(timeout=self._within_s):
            raise TimeoutError("too many look-ups of names are stuck")
        answer: Future[Answers] = Future()

        def run() -> None:
            try:
                answer.set_result(self._look_up(*arguments, **named))
            except Exception as exc:  # noqa: BLE001 -- it is raised where somebody waits
                answer.set_exception(exc)
            finally:
                self._room.release()

        # a daemon: what is stuck must not keep the process
        threading.Thread(target=run, name="lookup", daemon=True).start()
        try:
            return answer.result(self._within_s)
        except TookTooLong:
            raise TimeoutError("the name was not found in time") from None

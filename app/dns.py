"""Resolves host names with a timeout, which the system resolver does not have."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

LOOKUP_S = 5.0
MAX_PENDING = 32  # look-ups, stuck ones included, before new ones are refused

Answers = list[Any]


class DnsLookup:
    """Calls `socket.getaddrinfo` with a timeout."""

    def __init__(
        self,
        within_s: float = LOOKUP_S,
        most: int = MAX_PENDING,
        look_up: Callable[..., Answers] = socket.getaddrinfo,
    ) -> None:
        self._within_s = within_s
        self._pending = threading.BoundedSemaphore(most)
        self._look_up = look_up

    def __call__(self, *arguments: Any, **named: Any) -> Answers:
        """Resolve a name. Raises OSError, also after the timeout."""
        if not self._pending.acquire(timeout=self._within_s):
            raise TimeoutError("too many look-ups of names are stuck")
        answer: Future[Answers] = Future()

        def run() -> None:
            try:
                answer.set_result(self._look_up(*arguments, **named))
            except Exception as exc:  # noqa: BLE001 -- raised again by `result`
                answer.set_exception(exc)
            finally:
                self._pending.release()

        # a daemon, so that a stuck look-up does not keep the process alive
        threading.Thread(target=run, name="lookup", daemon=True).start()
        try:
            return answer.result(self._within_s)
        except FutureTimeoutError:
            raise TimeoutError("the name was not found in time") from None

"""Sweeps through what is due in parts, until nothing is left, an outage begins, or the process stops."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from app.logs import log
from app.metrics import MAINTENANCE_ERRORS
from app.predictions.errors import Unavailable

PART = 100
THREADS = 8  # handle a part: Redis syncs their writes together
NEVER = threading.Event()  # is not set


def sweep(
    claim: Callable[[int], list[str]],
    handle: Callable[[str], None],
    stopping: threading.Event = NEVER,
    part: int = PART,
) -> int:
    """Handle every id that is due, and return how many were handled. Raises Unavailable.

    `claim` returns up to that many ids, which it offers again later unless they are handled. `handle` is called in several
    threads. One that fails is logged, counted and left for later. A part of which all fail ends the sweep: the next one tries again.
    """
    handled = 0
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sweep")  # starts them when needed
    try:
        while True:
            ids = claim(part)
            is_handled = list(threads.map(partial(_handle_one, handle, stopping), ids))
            handled += sum(is_handled)
            if stopping.is_set() or len(ids) < part or not any(is_handled):
                return handled
    finally:
        threads.shutdown(cancel_futures=True)


def _handle_one(handle: Callable[[str], None], stopping: threading.Event, item: str) -> bool:
    """Return whether an item was handled: not if it failed, or the process stops. Raises Unavailable."""
    if stopping.is_set():
        return False
    try:
        handle(item)
    except Unavailable:
        raise
    except Exception as exc:  # noqa: BLE001 -- one must not stop the others
        MAINTENANCE_ERRORS.inc()
        log.warning("maintenance_skipped", id=item, error=f"{type(exc).__name__}: {exc}")
        return False
    return True

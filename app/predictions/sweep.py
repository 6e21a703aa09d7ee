"""Sweeps through what is due in parts, until nothing is left, an outage begins, or the process stops."""

import threading
from collections.abc import Callable

from app.logs import log
from app.metrics import MAINTENANCE_ERRORS
from app.predictions.errors import Unavailable

PART = 100
NEVER = threading.Event()  # is not set


def sweep(
    claim: Callable[[int], list[str]],
    handle: Callable[[str], None],
    stopping: threading.Event = NEVER,
    part: int = PART,
) -> int:
    """Handle every id that is due, and return how many were handled. Raises Unavailable.

    `claim` returns up to that many ids, which it offers again later unless they are handled. One that fails is logged,
    counted and left for later. A part of which all fail ends the sweep: the next one tries again.
    """
    handled = 0
    while True:
        ids = claim(part)
        failed = 0
        for item in ids:
            if stopping.is_set():
                return handled
            try:
                handle(item)
            except Unavailable:
                raise
            except Exception as exc:  # noqa: BLE001 -- one must not stop the others
                failed += 1
                MAINTENANCE_ERRORS.inc()
                log.warning("maintenance_skipped", id=item, error=f"{type(exc).__name__}: {exc}")
            else:
                handled += 1
        if len(ids) < part or failed == len(ids):
            return handled

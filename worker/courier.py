"""The jobs that need no engine: healing lost tokens and deleting what has expired."""

import threading

from app.logs import log
from app.predictions.errors import Unavailable
from app.predictions.upkeep import Upkeep
from app.storage.errors import StorageError

RECONCILE_S = 1.0
EXPIRE_EVERY = 60  # reconciliations


def run_courier(upkeep: Upkeep, stopping: threading.Event, every_s: float = RECONCILE_S) -> None:
    """Keep house until told to stop; outages of Redis or the storage are waited out."""
    log.info("courier_ready")
    rounds = 0
    while not stopping.wait(every_s):
        try:
            upkeep.reconcile()
            if rounds % EXPIRE_EVERY == 0:
                upkeep.expire()
            rounds += 1
        except (Unavailable, StorageError) as exc:
            log.warning("upkeep_failed", error=str(exc))

"""A worker without a model and a courier with short pauses, otherwise the shipped processes.

`… process worker|shipped-worker|courier`: the storage of `worker` fails on request, that of `shipped-worker` is as shipped.
"""

import atexit
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from app.logs import configure_logs, log
from app.settings import Settings
from app.storage.errors import StorageError
from app.storage.local import LocalStorage
from app.storage.time_limit import TimeLimitedStorage
from app.webhooks.delivery import SCHEDULES
from worker import main as worker_main
from worker.courier import run_courier
from worker.main import run_worker

ENGINE = "tests.support.fake_engine_process"
STORAGE_LIMIT_S = 3.0  # instead of 30 s, so that hanging for a few seconds reaches it


class FaultyStorage(LocalStorage):
    """Stores files in a folder. While a file `hangs` or `fails` lies beside that folder, no `put` ends or each fails."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._hangs = folder.with_name("hangs")
        self._fails = folder.with_name("fails")

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store the file, hang or fail."""
        if self._hangs.exists():
            log.warning("storage_hangs", key=key)
            while self._hangs.exists():
                threading.Event().wait(0.05)
        if self._fails.exists():
            raise StorageError(f"could not store {key}: no reason")
        super().put(key, data)


def main() -> None:
    process = sys.argv[1]
    configure_logs(process)
    if process == "worker":
        settings = Settings()
        atexit.register(log.warning, "interpreter_clean_up")
        storage = TimeLimitedStorage(
            FaultyStorage(Path(urlsplit(settings.storage).path)), limit_s=STORAGE_LIMIT_S
        )
        run_worker(settings, storage, engine=ENGINE)
    elif process == "shipped-worker":
        worker_main.run_worker = partial(run_worker, engine=ENGINE)
        worker_main.main()
    else:
        SCHEDULES["hosted"] = (
            timedelta(seconds=3),
        ) * 100  # the pauses are shorter, the promise is the same
        run_courier(Settings())


if __name__ == "__main__":
    main()

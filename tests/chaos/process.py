"""A worker without a model and a courier with short pauses, otherwise the shipped processes: `… process worker|courier`."""

import sys
from datetime import timedelta

from app.logs import configure_logs
from app.settings import Settings
from app.webhooks.delivery import SCHEDULES
from worker.courier import run_courier
from worker.main import run_worker


def main() -> None:
    process = sys.argv[1]
    configure_logs(process)
    if process == "worker":
        run_worker(Settings(), engine="tests.support.fake_engine_process")
    else:
        SCHEDULES["hosted"] = (
            timedelta(seconds=3),
        ) * 100  # the pauses are shorter, the promise is the same
        run_courier(Settings())


if __name__ == "__main__":
    main()

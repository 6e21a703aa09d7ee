"""Runs the real worker with the fixed engine, or another one: `python -m benchmarks.fixed_worker [MODULE]`."""

import sys

from app.logs import configure_logs
from app.settings import Settings
from app.storage import open_storage
from worker.main import run_worker

if __name__ == "__main__":
    module = sys.argv[1] if len(sys.argv) > 1 else "benchmarks.fixed_engine"
    configure_logs("worker")
    settings = Settings()
    run_worker(settings, open_storage(settings.storage), engine=module)

"""Runs the real worker with the fixed engine: `python -m benchmarks.fixed_worker`."""

from app.logs import configure_logs
from app.settings import Settings
from app.storage import open_storage
from worker.main import run_worker

if __name__ == "__main__":
    configure_logs("worker")
    settings = Settings()
    run_worker(settings, open_storage(settings.storage), engine="benchmarks.fixed_engine")

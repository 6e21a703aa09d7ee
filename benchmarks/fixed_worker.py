"""Runs the real worker with the fixed engine: `python -m benchmarks.fixed_worker`."""

from app.logs import configure_logs
from app.settings import Settings
from worker.main import run_worker

if __name__ == "__main__":
    configure_logs("worker")
    run_worker(Settings(), engine="benchmarks.fixed_engine")

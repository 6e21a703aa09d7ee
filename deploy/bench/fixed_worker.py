"""A worker as it ships, around the engine that computes nothing: `python -m deploy.bench.fixed_worker`."""

from app.logs import configure_logs
from app.settings import Settings
from worker.main import run_worker

if __name__ == "__main__":
    configure_logs("worker")
    run_worker(Settings(), engine="deploy.bench.fixed_engine")

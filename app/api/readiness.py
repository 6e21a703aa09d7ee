"""Tells whether the whole system can take a prediction."""

from dataclasses import dataclass

from app.predictions.redis_errors import redis_errors
from app.predictions.service import Service
from app.predictions.worker_registry import Worker
from app.redis_requirements import RedisCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What is missing, and the ready workers."""

    missing: str | None
    workers: tuple[Worker, ...]


def check_readiness(service: Service, redis_check: RedisCheck) -> Readiness:
    """Check Redis and the workers. Raises Unavailable."""
    workers = tuple(service.ready_workers())
    missing = None if workers else "waiting for a worker to load its model"
    with redis_errors():
        unmet = redis_check.unmet()
    return Readiness(missing=f"Redis: {unmet}" if unmet else missing, workers=workers)

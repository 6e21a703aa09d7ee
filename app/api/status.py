"""Serves `GET /v1/status`: the queues and the workers, for people."""

from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app.api.auth import KeyId
from app.api.state import state_of
from app.predictions.catalog import MODELS

router = APIRouter(tags=["health"])


class QueueLine(BaseModel):
    """The predictions that wait for one checkpoint kind."""

    checkpoint: str
    waiting: int
    oldest_s: float = Field(description="Seconds that the oldest waiting prediction has waited.")


class WorkerLine(BaseModel):
    """A ready worker."""

    name: str
    weights: str
    revision: str
    models: list[str]
    seen_s: float = Field(description="Seconds since the last heartbeat of the worker.")


class SystemStatus(BaseModel):
    """The state of the whole system."""

    running: int
    queues: list[QueueLine]
    workers: list[WorkerLine]


@router.get(
    "/v1/status",
    summary="System status",
    responses={
        code: {"description": HTTPStatus(code).phrase, "content": {"application/json": {}}}
        for code in (401, 503)
    },
)
def status(_key_id: KeyId, request: Request) -> SystemStatus:
    """Return running and waiting predictions, and the ready workers."""
    stats = state_of(request.app).collect_stats()
    now = datetime.now(UTC).timestamp()
    return SystemStatus(
        running=stats.running,
        queues=[
            QueueLine(checkpoint=kind, waiting=line.count, oldest_s=line.oldest.total_seconds())
            for kind, line in stats.waiting.items()
        ],
        workers=[
            WorkerLine(
                name=worker.name,
                weights=worker.weights,
                revision=worker.revision,
                models=[m.slug for m in MODELS.values() if m.checkpoint is worker.checkpoint],
                seen_s=round(max(0.0, now - worker.seen_at), 1),
            )
            for worker in stats.workers
        ],
    )

"""`GET /v1/status`: the queue and the workers as a person wants to see them."""

from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app.api.auth import KeyId
from app.api.state import state_of
from app.predictions.catalog import MODELS

router = APIRouter(tags=["health"])


class QueueLine(BaseModel):
    """What waits for one kind of checkpoint."""

    checkpoint: str
    waiting: int
    oldest_s: float = Field(description="How long the next in line has waited.")


class WorkerLine(BaseModel):
    """One worker that is ready."""

    name: str
    weights: str
    revision: str
    models: list[str]
    seen_s: float = Field(description="How long ago it was last heard of.")


class SystemStatus(BaseModel):
    """What the system is at."""

    running: int
    queues: list[QueueLine]
    workers: list[WorkerLine]


@router.get(
    "/v1/status",
    summary="What waits, what runs, and who works?",
    responses={
        code: {"description": HTTPStatus(code).phrase, "content": {"application/json": {}}}
        for code in (401, 503)
    },
)
def status(_key_id: KeyId, request: Request) -> SystemStatus:
    """Count queue and workers."""
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

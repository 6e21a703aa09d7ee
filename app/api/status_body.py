"""Declares the body of `GET /v1/status` and fills it. It imports no web framework."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from app.predictions.catalog import MODELS
from app.predictions.stats import SystemStats
from app.predictions.worker_registry import WorkerState


class QueueLine(BaseModel):
    """The predictions that wait for one checkpoint kind."""

    checkpoint: str
    waiting: int
    oldest_s: float = Field(description="Seconds that the oldest waiting prediction has waited.")
    expected_wait_s: float | None = Field(
        description="Estimated seconds until a worker is free for a prediction behind all of them; null if unknown."
    )


class WorkerLine(BaseModel):
    """A worker that takes predictions. One with several checkpoints has an entry for each."""

    name: str
    process: str = Field(
        description="The same for all entries of one worker, whose models take turns."
    )
    state: WorkerState = Field(
        description="`ready`; `asleep`: the next prediction loads the model; or `loading`: that goes on."
    )
    checkpoint: str
    weights: str
    revision: str
    models: list[str]
    seen_s: float = Field(description="Seconds since the last heartbeat of the worker.")
    last_image_s: float | None = Field(
        description="Seconds since its last image, test images included; null if there was none."
    )


class SystemStatus(BaseModel):
    """The state of the whole system."""

    running: int
    webhooks: int = Field(description="Webhooks that are not yet delivered.")
    overdue: int = Field(
        description="Predictions without an end, although their limits are over. `klein ledger` names them."
    )
    queues: list[QueueLine]
    workers: list[WorkerLine]


def status_body(stats: SystemStats) -> SystemStatus:
    """Render the stats."""
    now = datetime.now(UTC).timestamp()
    return SystemStatus(
        running=stats.running,
        webhooks=stats.webhooks,
        overdue=stats.overdue,
        queues=[
            QueueLine(
                checkpoint=kind,
                waiting=line.count,
                oldest_s=line.oldest.total_seconds(),
                expected_wait_s=None
                if line.expected_wait is None
                else round(line.expected_wait.total_seconds(), 1),
            )
            for kind, line in stats.waiting.items()
        ],
        workers=[
            WorkerLine(
                name=worker.name,
                process=worker.process_name,
                state=worker.state,
                checkpoint=worker.checkpoint,
                weights=worker.weights,
                revision=worker.revision,
                models=[m.slug for m in MODELS.values() if m.checkpoint is worker.checkpoint],
                seen_s=round(max(0.0, now - worker.seen_at), 1),
                last_image_s=worker.image_age_s(now),
            )
            for worker in stats.workers
        ],
    )

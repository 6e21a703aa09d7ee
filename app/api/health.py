"""Serves the health checks: `/livez` for this process, `/readyz` for the whole system."""

import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.api.state import state_of
from app.predictions.worker_registry import WorkerState

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The result of a health check: `ok`, or what is missing."""

    status: str


class WorkerReadiness(BaseModel):
    """What makes a worker ready: its model, and the age of its last image."""

    weights: str
    state: WorkerState
    last_image_s: float | None = Field(
        description="Seconds since its last image, test images included; null if there was none."
    )


class ReadinessBody(Health):
    """The result of the readiness check, with the weights of each ready worker."""

    workers: list[str]
    details: list[WorkerReadiness]


@router.get("/livez", summary="Liveness check")
@router.get("/healthz", include_in_schema=False)
async def livez() -> Health:
    """Return 200 while the api process can respond."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Readiness check",
    response_model=None,
    responses={
        200: {"model": ReadinessBody},
        429: {"description": "Too Many Requests", "content": {"application/json": {}}},
        503: {"model": ReadinessBody},
    },
)
def readyz(request: Request) -> JSONResponse:
    """Return 200 while Redis responds and keeps what is written, and at least one worker has loaded its model."""
    found = state_of(request.app).readiness.get()
    now = time.time()
    details = [
        WorkerReadiness(
            weights=worker.weights, state=worker.state, last_image_s=worker.image_age_s(now)
        )
        for worker in found.workers
    ]
    weights = [worker.weights for worker in found.workers]
    body = ReadinessBody(status=found.missing or "ok", workers=weights, details=details)
    return JSONResponse(body.model_dump(), 503 if found.missing else 200)

"""Serves the health checks: `/livez` for this process, `/readyz` for the whole system."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.state import state_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The result of a health check: `ok`, or what is missing."""

    status: str


class Readiness(Health):
    """The result of the readiness check, with the weights of each ready worker."""

    workers: list[str]


@router.get("/livez", summary="Liveness check")
@router.get("/healthz", include_in_schema=False)
async def livez() -> Health:
    """Return 200 while the api process can respond."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Readiness check",
    response_model=None,
    responses={200: {"model": Readiness}, 503: {"model": Readiness}},
)
def readyz(request: Request) -> JSONResponse:
    """Return 200 while Redis responds and at least one worker has loaded its model."""
    workers = state_of(request.app).service.ready_workers()
    ready = [worker.weights for worker in workers]
    status = "ok" if ready else "waiting for a worker to load its model"
    return JSONResponse({"status": status, "workers": ready}, 200 if ready else 503)

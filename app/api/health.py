"""Tells whether this process is alive and whether predictions can be worked on."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.state import state_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """What is up; `status` is ok or what is being waited for."""

    status: str


class Readiness(Health):
    """Whether predictions are worked on, and by whom."""

    workers: list[str]


@router.get("/livez", summary="Is the api process alive?")
@router.get("/healthz", include_in_schema=False)
async def livez() -> Health:
    """Answer while the process can answer at all."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Is a worker ready?",
    response_model=None,
    responses={200: {"model": Readiness}, 503: {"model": Readiness}},
)
def readyz(request: Request) -> JSONResponse:
    """Answer 200 once a worker holds the model and Redis answers."""
    workers = state_of(request.app).service.ready_workers()
    ready = [worker.weights for worker in workers]
    status = "ok" if ready else "waiting for a worker to load its model"
    return JSONResponse({"status": status, "workers": ready}, 200 if ready else 503)

"""Serves `GET /v1/status`: the queues and the workers, for people."""

from http import HTTPStatus

from fastapi import APIRouter, Request

from app.api.auth import KeyId
from app.api.state import state_of
from app.api.status_body import SystemStatus, status_body

router = APIRouter(tags=["health"])


@router.get(
    "/v1/status",
    summary="System status",
    responses={
        code: {"description": HTTPStatus(code).phrase, "content": {"application/json": {}}}
        for code in (401, 429, 503)
    },
)
def status(_key_id: KeyId, request: Request) -> SystemStatus:
    """Return running and waiting predictions, and the ready workers."""
    return status_body(state_of(request.app).collect_stats())

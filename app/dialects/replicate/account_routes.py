"""Serves the account, the webhook secret, and empty lists of what klein does not have, in Replicate's form."""

import base64

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.auth import KeyId
from app.api.state import state_of
from app.dialects.replicate import wire
from app.webhooks.sign import PREFIX

router = APIRouter(include_in_schema=False)  # documented by Replicate


@router.get("/v1/account", response_model=None)
def account(_key_id: KeyId) -> Response:
    """Show the account, which is the same for every key."""
    return JSONResponse(wire.account_body())


@router.get("/v1/collections", response_model=None)
@router.get("/v1/deployments", response_model=None)
@router.get("/v1/trainings", response_model=None)
def nothing(_key_id: KeyId) -> Response:
    """List what klein does not have: collections, deployments and trainings."""
    return JSONResponse(wire.list_body([]))


@router.get("/v1/hardware", response_model=None)
def hardware(_key_id: KeyId) -> Response:
    """List the hardware that a caller can choose: none."""
    return JSONResponse([])


@router.get("/v1/webhooks/default/secret", response_model=None)
def webhook_secret(request: Request, key_id: KeyId) -> Response:
    """Return the secret that signs the webhooks of this key."""
    return JSONResponse({"key": webhook_secret_of(request, key_id)})


def webhook_secret_of(request: Request, key_id: str) -> str:
    """Return the webhook secret of a key, in the form of Standard Webhooks."""
    links = state_of(request.app).links
    return PREFIX + base64.b64encode(links.secret_for(f"webhooks of {key_id}")).decode()

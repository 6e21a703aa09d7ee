"""Serves the list of LoRAs. The hosted API has no such route."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.auth import KeyId
from app.dialects.dependencies import ServiceOf
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.responses import declare_errors

router = APIRouter(tags=["models"], responses=declare_errors(400, 401, 503))


@router.get("/v1/loras")
def loras(
    key_id: KeyId,
    service: ServiceOf,
    name: Annotated[str, Query(description="Only LoRAs whose name contains this text.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[bodies.LoraBody]:
    """List the LoRAs that predictions may name, by name."""
    part = name.casefold()
    shown = [lora for lora in service.list_loras(key_id) if part in lora.name.casefold()]
    return [
        bodies.LoraBody(
            name=lora.name,
            size_bytes=lora.size_bytes,
            base=lora.base,
            models=list(lora.models),
            trigger_words=list(lora.trigger_words),
            problem=lora.problem,
        )
        for lora in shown[offset : offset + limit]
    ]

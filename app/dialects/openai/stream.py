"""Streams the previews and the images of a run as OpenAI's server-sent events."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio

from app.api.errors import RenderError
from app.dialects.openai import wire
from app.dialects.run import Run, succeeded
from app.predictions.errors import KleinError, ShuttingDown
from app.predictions.prediction import Prediction
from app.storage.errors import StorageError

PING_S = 15.0
_PING = b": ping\n\n"


async def stream_images(
    run: Run, event: str, partial_images: int, render_error: RenderError
) -> AsyncGenerator[bytes]:
    """Yield the events of a run, and a comment after each silence. `event` is the first part of their names."""
    async with aclosing(_events(run, event, partial_images, render_error)) as events:
        while True:
            following = asyncio.ensure_future(anext(events, None))
            try:
                while not (await asyncio.wait({following}, timeout=PING_S))[0]:
                    yield _PING
                body = following.result()
            finally:
                following.cancel()
                with anyio.CancelScope(shield=True):  # a running generator cannot be closed
                    await asyncio.wait({following})
            if body is None:
                return
            yield f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


async def _events(
    run: Run, event: str, partial_images: int, render_error: RenderError
) -> AsyncGenerator[dict[str, Any]]:
    try:
        for prediction in run.predictions:
            async for body in _events_of(run, prediction, event, partial_images):
                yield body
    except (KleinError, StorageError) as exc:
        yield {"type": "error", **render_error(exc).body}


async def _events_of(
    run: Run, prediction: Prediction, event: str, partial_images: int
) -> AsyncGenerator[dict[str, Any]]:
    sent = 0
    state = prediction
    async with aclosing(run.service.follow(prediction)) as states:
        async for state in states:
            if sent < partial_images and _is_due(state, sent, partial_images):
                preview = await run.service.preview(state)
                if preview is not None:
                    yield _partial_body(event, state, preview, sent)
                    sent += 1
    if not state.status.is_final:
        raise ShuttingDown
    for _, output, data in await run.read_files([succeeded(state)]):
        yield {
            "type": f"{event}.completed",
            "b64_json": base64.b64encode(data).decode(),
            "created_at": round(state.created_at.timestamp()),
            **wire.appearance(state, output),
            "usage": wire.USAGE,
        }


def _is_due(state: Prediction, sent: int, partial_images: int) -> bool:
    """Return whether enough steps are done for the next preview: they are spread over the run."""
    return 0 < state.steps * (sent + 1) <= state.step * (partial_images + 1)


def _partial_body(event: str, state: Prediction, preview: bytes, index: int) -> dict[str, Any]:
    size = state.parameters
    return {
        "type": f"{event}.partial_image",
        "b64_json": base64.b64encode(preview).decode(),
        "partial_image_index": index,
        "created_at": round(state.created_at.timestamp()),
        "background": "opaque",
        "output_format": "webp",
        "quality": "high",
        "size": f"{size.width}x{size.height}" if size and size.width else "auto",
    }

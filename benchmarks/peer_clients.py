"""Asks each kind of server for one image over HTTP, and returns the PNG."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable

import httpx

from benchmarks.peer_servers.job import SIDE
from benchmarks.processes import KEY
from benchmarks.serving import SLUG

HEADERS = {"X-API-Key": KEY}
COG_AGAIN_S = 0.01
Ask = Callable[[httpx.AsyncClient, str], Awaitable[bytes]]


async def ask_klein(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Create a prediction, wait for it, and download its image."""
    body = {
        "model": SLUG,
        "input": {"prompt": prompt, "image_size": {"width": SIDE, "height": SIDE}},
    }
    created = await _json(client.post("/v1/prediction", json=body))
    ended = await _json(client.get(f"/v1/prediction/{created['predictionID']}?wait=60"))
    return (await client.get(ended["output"])).content


async def run_klein(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Create a prediction and wait for it in one request, and download its image."""
    inputs = {"prompt": prompt, "image_size": {"width": SIDE, "height": SIDE}}
    ended = await _json(client.post("/v1/prediction/run", json={"model": SLUG, "input": inputs}))
    return (await client.get(ended["output"])).content


async def ask_cog(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Get the image as a data URI. cog refuses what comes while it works, so ask again."""
    while True:
        response = await client.post("/predictions", json={"input": {"prompt": prompt}})
        if response.status_code != httpx.codes.CONFLICT:
            break
        await asyncio.sleep(COG_AGAIN_S)
    return b64decode(response.json()["output"].partition(",")[2])


async def ask_directly(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Get the image as the response."""
    return (await client.post("/draw", json={"prompt": prompt})).content


async def ask_litserve(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Get the image as the response."""
    return (await client.post("/predict", json={"prompt": prompt})).content


async def ask_jobs(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Queue a job, and wait for its image."""
    created = await _json(client.post("/jobs", json={"prompt": prompt}))
    return (await client.get(f"/jobs/{created['id']}")).content


async def ask_gradio(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Queue an event, wait for its end, and download the file."""
    created = await _json(client.post("/gradio_api/call/draw", json={"data": [prompt]}))
    events = (await client.get(f"/gradio_api/call/draw/{created['event_id']}")).text
    data = events.split("event: complete")[1].split("data: ")[1].splitlines()[0]
    return (await client.get(json.loads(data)[0]["url"])).content


async def _json(request: Awaitable[httpx.Response]) -> dict[str, str]:
    response = await request
    response.raise_for_status()
    body: dict[str, str] = response.json()
    return body

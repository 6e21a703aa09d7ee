"""Asks each kind of server for one picture over HTTP, and returns the PNG."""

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from benchmarks.client import RUNNING
from benchmarks.peer_servers.job import SEED, SIDE
from benchmarks.processes import KEY
from benchmarks.serving import SLUG

HEADERS = {"X-API-Key": KEY}
COG_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What to draw. The size is in pixels."""

    prompt: str
    width: int = SIDE
    height: int = SIDE

    @property
    def order(self) -> dict[str, Any]:
        """The body of a create of klein."""
        size = {"width": self.width, "height": self.height}
        return {
            "model": SLUG,
            "input": {"prompt": self.prompt, "image_size": size, "seed": SEED},
        }


Ask = Callable[[httpx.AsyncClient, Picture], Awaitable[bytes]]


async def ask_klein(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Create a prediction, wait for it, and download its image."""
    created = await _json(client.post("/v1/prediction", json=picture.order))
    path = f"/v1/prediction/{created['predictionID']}?wait=60"
    shown = await _json(client.get(path))
    while shown["status"] in RUNNING:  # the model is still loading
        shown = await _json(client.get(path))
    return await _download(client, shown)


async def run_klein(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Create a prediction and wait for it in one request, and download its image."""
    return await _download(
        client, await _json(client.post("/v1/prediction/run", json=picture.order))
    )


async def ask_cog(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Get the image as a data URI. cog refuses what comes while it works, so ask again."""
    while True:
        response = await client.post("/predictions", json={"input": asdict(picture)})
        if response.status_code != httpx.codes.CONFLICT:
            break
        await asyncio.sleep(COG_AGAIN_S)
    return b64decode(response.json()["output"].partition(",")[2])


async def ask_directly(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Get the image as the response."""
    return (await client.post("/draw", json=asdict(picture))).content


async def ask_litserve(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Get the image as the response."""
    return (await client.post("/predict", json=asdict(picture))).content


async def ask_jobs(client: httpx.AsyncClient, picture: Picture) -> bytes:
    """Queue a job, and wait for its image."""
    created = await _json(client.post("/jobs", json={"prompt": picture.prompt}))
    return (await client.get(f"/jobs/{created['id']}")).content


async def _download(client: httpx.AsyncClient, prediction: dict[str, str]) -> bytes:
    """Fetch the image. Raises RuntimeError if there is none."""
    if not prediction["output"]:
        raise RuntimeError(str(prediction))
    return (await client.get(prediction["output"])).content


async def _json(request: Awaitable[httpx.Response]) -> dict[str, str]:
    response = await request
    response.raise_for_status()
    body: dict[str, str] = response.json()
    return body

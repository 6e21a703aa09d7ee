"""Provides the dependencies of every dialect's routes: the service, uploads, JSON body and image URLs."""

from typing import Annotated, Any

from fastapi import Depends, Request

from app.api.connection import read_json, while_connected
from app.api.state import state_of
from app.dialects.image_links import ImageLinks, RenderOutput, data_uri
from app.predictions.prediction import Prediction
from app.predictions.service import Service
from app.uploads import Uploads


async def _service(request: Request) -> Service:
    return state_of(request.app).service


async def _pictures(request: Request) -> ImageLinks:
    state = state_of(request.app)
    base = state.public_url or str(request.base_url).rstrip("/")
    return ImageLinks(
        base=base,
        retention=state.retention,
        link=lambda key, expires: state.links.link(base, key, expires),
    )


async def _uploads(request: Request) -> Uploads:
    return state_of(request.app).uploads


async def _json_body(request: Request) -> dict[str, Any]:
    return await read_json(request, state_of(request.app).body_max_bytes)


ServiceOf = Annotated[Service, Depends(_service)]
ImageLinksOf = Annotated[ImageLinks, Depends(_pictures)]
UploadsOf = Annotated[Uploads, Depends(_uploads)]
JsonBody = Annotated[dict[str, Any], Depends(_json_body)]


async def wait_for_end(
    request: Request, service: Service, prediction: Prediction, timeout: float | None
) -> Prediction:
    """Wait until the prediction is final, for `timeout` seconds, or until the client disconnects."""
    return await while_connected(request, service.wait(prediction, timeout))


def output_renderer(
    prediction: Prediction, service: Service, image_links: ImageLinks
) -> RenderOutput:
    """Return the function that renders an output: as a URL, or in sync mode as a data URI, which reads the file."""
    if prediction.input.get("sync_mode") is not True:
        return lambda output: image_links.url(prediction, output)
    return lambda output: data_uri(output, service.read_output(output))

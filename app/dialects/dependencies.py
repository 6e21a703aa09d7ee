"""What the routes of every dialect are given: the service, and how this caller sees pictures."""

from typing import Annotated

from fastapi import Depends, Request

from app.api.connection import while_connected
from app.dialects.pictures import Pictures, Show, data_uri
from app.predictions.prediction import Prediction
from app.predictions.service import Service
from app.uploads import Uploads


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _pictures(request: Request) -> Pictures:
    base = request.app.state.public_url or str(request.base_url).rstrip("/")
    return Pictures(
        base=base,
        retention=request.app.state.retention,
        link=lambda key, expires: request.app.state.links.link(base, key, expires),
    )


async def _uploads(request: Request) -> Uploads:
    uploads: Uploads = request.app.state.uploads
    return uploads


ServiceOf = Annotated[Service, Depends(_service)]
PicturesOf = Annotated[Pictures, Depends(_pictures)]
UploadsOf = Annotated[Uploads, Depends(_uploads)]


async def wait_for_end(
    request: Request, service: Service, prediction: Prediction, timeout: float | None
) -> Prediction:
    """Wait for the end, or `timeout` seconds, or until the client hangs up."""
    return await while_connected(request, service.watch.wait(prediction.id, timeout))


def shower(prediction: Prediction, service: Service, pictures: Pictures) -> Show:
    """Choose how pictures are shown: as URLs, or in sync mode as data URIs, which reads the files."""
    if prediction.input.get("sync_mode") is not True:
        return lambda output: pictures.url(prediction, output)
    return lambda output: data_uri(output, service.storage.get(output.key))

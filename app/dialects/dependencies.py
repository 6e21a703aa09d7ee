"""Provides the dependencies of every dialect's routes: the service, uploads, JSON body and image URLs."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request

from app.api.auth import KeyId
from app.api.base_url import base_url_of
from app.api.body_memory import Reserve
from app.api.connection import until_disconnected, while_connected
from app.api.json_body import read_json, read_json_with_images
from app.api.state import state_of
from app.dialects.http import mount_of
from app.dialects.image_links import ImageLinks, RenderOutput, data_uri
from app.images.scratch import ScratchFolder, ScratchFull, SentImage
from app.predictions.errors import TooManyRequests
from app.predictions.prediction import Prediction
from app.predictions.read_slots import ReadSlots
from app.predictions.service import Service
from app.predictions.submission import Submission
from app.predictions.submissions import RETRY_AFTER_S
from app.uploads import Uploads


def service_of(request: Request) -> Service:
    """Return the service. The busiest routes call this, because FastAPI resolves every dependency for each request."""
    return state_of(request.app).service


def image_links_of(request: Request) -> ImageLinks:
    """Return the links to images that a caller can reach."""
    state = state_of(request.app)
    base = state.public_url or base_url_of(request)
    return ImageLinks(
        base=base,
        retention=state.retention,
        link=lambda key, expires: state.links.link(base, key, expires),
        mount=mount_of(request.scope),
    )


async def _service(request: Request) -> Service:
    return service_of(request)


async def _image_links(request: Request) -> ImageLinks:
    return image_links_of(request)


async def _uploads(request: Request) -> Uploads:
    return state_of(request.app).uploads


async def _json_body(request: Request) -> dict[str, Any]:
    state = state_of(request.app)
    return await read_json(request, state.body_max_bytes, body_reservation(request))


def body_reservation(request: Request) -> Reserve:
    """Return a function that counts what the body of a request takes in memory."""
    owner = getattr(request.state, "key_id", "")  # "": before authentication, where nothing is read
    return state_of(request.app).body_memory.reservation(owner)


async def _read_slots(request: Request) -> ReadSlots:
    return state_of(request.app).read_slots


async def _read_slot(request: Request, key_id: KeyId) -> AsyncGenerator[None]:
    with state_of(request.app).read_slots.slot(key_id):
        yield


ServiceOf = Annotated[Service, Depends(_service)]
ImageLinksOf = Annotated[ImageLinks, Depends(_image_links)]
UploadsOf = Annotated[Uploads, Depends(_uploads)]
JsonBody = Annotated[dict[str, Any], Depends(_json_body)]
"""A JSON object without images, of at most 1 MB."""
READ_SLOT = Depends(_read_slot)
"""Holds one of the key's slots for lists. Raises TooManyRequests."""
ReadSlotsOf = Annotated[ReadSlots, Depends(_read_slots)]


@asynccontextmanager
async def create_body(
    request: Request, key_id: str, *, takes_base64: bool = False
) -> AsyncGenerator[tuple[dict[str, Any], Mapping[str, SentImage]]]:
    """Read a JSON object, and the images for which names stand in it. Their files are deleted after the body of `with`.

    Raises BadBody, BodyTooLarge, TooManyRequests or StorageError.
    """
    largest_bytes = state_of(request.app).body_max_bytes
    with scratch_folder(request, key_id) as folder:
        body = await read_json_with_images(
            request, largest_bytes, folder, body_reservation(request), takes_base64=takes_base64
        )
        yield body.content, body.images


@contextmanager
def scratch_folder(request: Request, key_id: str) -> Iterator[ScratchFolder]:
    """Create a folder for the images of a request, which is deleted after the body of `with`. Raises TooManyRequests."""
    try:
        with state_of(request.app).scratch.folder(key_id) as folder:
            yield folder
    except ScratchFull as exc:
        raise TooManyRequests(str(exc), retry_after_s=RETRY_AFTER_S) from None


async def submit(request: Request, service: Service, submission: Submission) -> Prediction:
    """Submit a request, and stop reading its images when the client disconnects. Raises ClientDisconnect, too."""
    return await service.submit(submission, partial(while_connected, request))


async def wait_for_end(
    request: Request, service: Service, prediction: Prediction, timeout: float | None
) -> Prediction:
    """Wait until the prediction is final, for `timeout` seconds, or until the client disconnects.

    The caller holds one of the key's places for waiters (`Service.wait_slot`).
    """
    return await service.wait(prediction, timeout, partial(until_disconnected, request))


def output_renderer(
    prediction: Prediction, service: Service, image_links: ImageLinks
) -> RenderOutput:
    """Return the function that renders an output: as a URL, or in sync mode as a data URI, which reads the file."""
    if prediction.input.get("sync_mode") is not True:
        return lambda output: image_links.url(prediction, output)
    return lambda output: data_uri(output, service.read_output(output))

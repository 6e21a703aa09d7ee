"""Serves predictions in Replicate's form, also those of deployments."""

import re
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.api.long_json import LongJson
from app.api.times import QueryTime
from app.dialects.dependencies import (
    READ_SLOT,
    ImageLinksOf,
    ReadSlotsOf,
    ServiceOf,
    create_body,
    output_renderer,
    submit,
    wait_for_end,
)
from app.dialects.image_links import ImageLinks
from app.dialects.replicate import wire
from app.dialects.replicate.account_routes import webhook_secret_of
from app.dialects.replicate.input import read_input
from app.dialects.replicate.lifetime import read_cancel_after
from app.dialects.replicate.models import check_model, model_of
from app.dialects.replicate.pages import page_urls, parse_cursor
from app.predictions.errors import AlreadyFinal, InvalidInput
from app.predictions.prediction import Prediction
from app.predictions.service import Service
from app.predictions.submission import Submission

WAIT_MAX_S = 60
EPOCH = datetime.fromtimestamp(0, UTC)
_WAIT = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6}))?(?=$|[\",;\s])", re.IGNORECASE)
# Replicate's own clients make files only of https: and data: URLs, and a laptop has no certificate
_READS_NO_HTTP = re.compile(r"(replicate-(python|javascript)|(Async)?Replicate)/")
router = APIRouter(include_in_schema=False)  # documented by Replicate


@router.post("/v1/predictions", response_model=None)
async def create(
    request: Request, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Create a prediction of a version."""
    return await _create(request, key_id, None, service, image_links)


@router.post("/v1/models/{owner}/{name}/predictions", response_model=None)
@router.post("/v1/deployments/{owner}/{name}/predictions", response_model=None)
async def create_of_model(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    owner: str,
    name: str,
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
) -> Response:
    """Create a prediction of an official model. A deployment has the name of its model."""
    check_model(owner, name)
    return await _create(request, key_id, name, service, image_links)


@router.get("/v1/predictions", response_model=None, dependencies=[READ_SLOT])
async def predictions(  # noqa: PLR0913 -- one argument a filter
    key_id: KeyId,
    service: ServiceOf,
    read_slots: ReadSlotsOf,
    image_links: ImageLinksOf,
    cursor: Annotated[str, Query()] = "",
    created_after: Annotated[QueryTime | None, Query()] = None,
    created_before: Annotated[QueryTime | None, Query()] = None,
    source: Annotated[Literal["web"] | None, Query()] = None,
) -> Response:
    """List this key's predictions, newest first. None of them was made on a website."""
    if source is not None:
        return JSONResponse(wire.list_body([]))
    until, offset = parse_cursor(cursor)
    until = until if created_before is None else min(until, created_before)
    since = EPOCH if created_after is None else created_after

    def read() -> Response:
        page = service.history(key_id, since=since, until=until, offset=offset, limit=wire.PAGE)
        results = [
            # URLs in sync mode too: a page must not contain a hundred images
            wire.prediction_body(p, image_links, lambda output, p=p: image_links.url(p, output))  # type: ignore[misc]  # mypy cannot infer this lambda
            for p in page.predictions
        ]
        query = {} if created_after is None else {"created_after": created_after.isoformat()}
        urls = page_urls(f"{image_links.api}/v1/predictions", until, offset, page.total, query)
        return LongJson(urls | {"results": results})

    return await read_slots.read(key_id, read)


@router.get("/v1/predictions/{prediction_id}", response_model=None)
async def get(
    prediction_id: str, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Show a prediction."""
    prediction = await service.get(key_id, prediction_id)
    return await run_in_threadpool(_shown, prediction, service, image_links)


@router.post("/v1/predictions/{prediction_id}/cancel", response_model=None)
async def cancel(
    prediction_id: str, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Cancel a prediction. A final one is shown unchanged."""
    try:
        prediction = await run_in_threadpool(service.cancel, key_id, prediction_id)
    except AlreadyFinal:
        prediction = await service.get(key_id, prediction_id)
    return await run_in_threadpool(_shown, prediction, service, image_links)


async def _create(
    request: Request, key_id: str, name: str | None, service: Service, image_links: ImageLinks
) -> Response:
    timeout = preferred_wait(request)
    with service.wait_slot(key_id) if timeout else nullcontext():
        created = await _submit(request, key_id, name, service, image_links)
        if not timeout:
            return JSONResponse(wire.prediction_body(created, image_links, lambda _: ""), 201)
        ended = await wait_for_end(request, service, created, timeout)
    shown = await run_in_threadpool(
        wire.prediction_body, ended, image_links, output_renderer(ended, service, image_links)
    )
    if not ended.status.is_final:
        shown["status"] = "starting"  # the Python client takes any other status for final
    return JSONResponse(shown, 201)


async def _submit(
    request: Request, key_id: str, name: str | None, service: Service, image_links: ImageLinks
) -> Prediction:
    """Submit the body of a request to a model, or to that of the version that it names."""
    async with create_body(request, key_id) as (content, images):
        body = wire.parse_create(content)
        asked = read_input(name or model_of(body.version), body.input)
        if preferred_wait(request) and _needs_data_uris(request, image_links):
            asked.input["sync_mode"] = True
        submission = Submission(
            key_id=key_id,
            slug=asked.slug,
            input=asked.input,
            images=images,
            webhook=wire.read_webhook(body, image_links.base, webhook_secret_of(request, key_id)),
            timeouts=read_cancel_after(request.headers.get("Cancel-After"), service.timeouts),
            notes=asked.notes,
        )
        try:
            return await submit(request, service, submission)
        except InvalidInput as exc:
            raise asked.rename_fields(exc) from None


def _shown(prediction: Prediction, service: Service, image_links: ImageLinks) -> JSONResponse:
    show = output_renderer(prediction, service, image_links)
    return JSONResponse(wire.prediction_body(prediction, image_links, show))


def _needs_data_uris(request: Request, image_links: ImageLinks) -> bool:
    agent = request.headers.get("User-Agent", "")
    is_plain = not image_links.base.startswith("https:")
    return is_plain and _READS_NO_HTTP.match(agent) is not None


def preferred_wait(request: Request) -> int:
    """Read `Prefer: wait` and `wait=SECONDS`."""
    match = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match[1] or WAIT_MAX_S), WAIT_MAX_S) if match else 0

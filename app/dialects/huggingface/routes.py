"""Serves images in the form of a Hugging Face inference endpoint, and renders errors in its form."""

import mimetypes

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.errors import ErrorResponse
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.huggingface import wire
from app.dialects.run import NoImage, RunOf
from app.predictions.errors import InvalidInput

router = APIRouter(include_in_schema=False)  # documented by Hugging Face


@router.post("", response_model=None)
async def create_image(request: Request, run: RunOf) -> Response:
    """Generate or edit an image and return its file. A header names the fields that have no effect."""
    body = await run.read_json(takes_base64=True)
    slug, model_input = wire.read_input(body, run.service.served_kinds())
    model_input["output_format"] = wire.output_format(request.headers.get("Accept", ""))
    notes = wire.read_notes(body)
    try:
        await run.submit(slug, [model_input], notes)
    except InvalidInput as exc:
        raise wire.rename_fields(exc, of_edit=wire.is_edit(body)) from None
    [(_, output, data)] = await run.read_files(await run.wait())
    media_type = mimetypes.guess_type(output.key)[0]
    return Response(data, media_type=media_type, headers=wire.notes_header(notes))


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error: `error` is a sentence."""
    description = describe_error(exc)
    details = description.details
    status, message = description.status, details if isinstance(details, str) and details else ""
    if isinstance(exc, InvalidInput):
        status, message = 422, str(exc)
    if isinstance(exc, NoImage):
        status, message = 400 if exc.is_caller_error else 500, str(exc)
    body = {"error": message or description.error}
    return ErrorResponse(status=status, body=body, headers=description.headers)


HTTP = HttpDialect(routers=(router,), render_error=render_error)

"""Serves text-to-image in the form of a Hugging Face inference endpoint, and renders errors in its form."""

import mimetypes

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.errors import ErrorResponse
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.huggingface import wire
from app.dialects.run import NoImage, RunOf
from app.predictions.errors import InvalidInput

router = APIRouter(include_in_schema=False)  # documented by Hugging Face


@router.post("", response_model=None)
async def text_to_image(run: RunOf) -> Response:
    """Generate an image and return its file."""
    slug, model_input = wire.read_input(await run.read_json(), run.service.served_kinds())
    try:
        await run.submit(slug, [model_input])
    except InvalidInput as exc:
        raise wire.rename_fields(exc) from None
    [(_, output, data)] = await run.read_files(await run.wait())
    return Response(data, media_type=mimetypes.guess_type(output.key)[0])


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

"""Serves uploads in the form of the hosted API: presigned URLs, and deletion."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from app.api.auth import KeyId
from app.api.errors import BadRequest
from app.api.state import state_of
from app.api.uploads import FILE_ID
from app.dialects.dependencies import JsonBody, ServiceOf, UploadsOf
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.responses import declare_errors, declare_responses
from app.dialects.eachlabs.routes import ViewOf
from app.dialects.image_links import format_time
from app.images.media_type import SUFFIXES
from app.predictions.problems import problems_of
from app.uploads import DEFAULT_RETENTION, MAX_RETENTION

_ALIASES = {"image/jpg": "image/jpeg"}
router = APIRouter(tags=["uploads"], responses=declare_errors(400, 401, 503))


async def _body(body: JsonBody) -> bodies.PresignBody:
    try:
        return bodies.PresignBody.model_validate(body)
    except ValidationError as exc:
        first = problems_of(exc)[0]
        raise BadRequest(
            f"invalid {first.field} parameter", f"{first.field}: {first.message}"
        ) from None


@router.post(
    "/v1/upload/presign",
    response_model=None,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": bodies.PresignBody.model_json_schema()}},
        }
    },
    responses=declare_responses(bodies.Presigned, 413, 422, 429),
)
def presign(  # noqa: PLR0913 -- one argument a part of the request
    request: Request,
    key_id: KeyId,
    body: Annotated[bodies.PresignBody, Depends(_body)],
    uploads: UploadsOf,
    service: ServiceOf,
    view: ViewOf,
) -> Response:
    """Return a URL to PUT a file to, and the URL that names the file as an input.

    The request counts against the key's limit of creates a minute.
    """
    service.count_create(key_id)
    content_type = body.content_type.partition(";")[0].strip().lower()
    media_type = _ALIASES.get(content_type, content_type)
    if media_type not in SUFFIXES:
        details = f"content_type: send {', '.join(SUFFIXES)}; the models read nothing else"
        raise BadRequest("invalid content_type parameter", details)
    seconds = body.expires_in_seconds
    retention = DEFAULT_RETENTION if seconds is None else _seconds(seconds)
    upload = uploads.open(key_id, media_type, retention)
    links = state_of(request.app).links
    return JSONResponse(
        {
            "id": upload.id,
            "presigned_url": links.link(view.base, upload.key, upload.url_expires_at, verb="PUT"),
            "public_url": view.link(upload.key, upload.expires_at),
            "expires_at": format_time(upload.expires_at),
            "required_headers": {FILE_ID: upload.id},
        }
    )


@router.delete("/v1/files/{id}", status_code=204, response_model=None)
def delete_file(
    upload_id: Annotated[str, Path(alias="id")], key_id: KeyId, uploads: UploadsOf
) -> Response:
    """Delete an uploaded file. The status is 204 even if it is already gone."""
    try:
        uploads.delete(key_id, str(UUID(upload_id)))
    except ValueError:
        raise BadRequest("invalid argument", "id: send the id of an upload, a UUID") from None
    return Response(status_code=204)


def _seconds(seconds: int) -> timedelta:
    max_s = int(MAX_RETENTION.total_seconds())
    return timedelta(seconds=min(max(seconds, 0), max_s))

"""Serves what the API key used, as JSON or CSV. The hosted API has no such route."""

import csv
import io
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from app.api.auth import KeyId
from app.api.long_json import LongJson
from app.api.state import state_of
from app.dialects.dependencies import READ_SLOT, ReadSlotsOf
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.responses import declare_errors

router = APIRouter(tags=["usage"], responses=declare_errors(401, 503))
MAX_DAYS = 3660
_COLUMNS = ("day", "key", "model", "images", "megapixels", "engine_s", "dollars")


@router.get(
    "/v1/usage",
    response_model=None,
    responses=declare_errors(400, 429)
    | {200: {"model": bodies.UsageBody, "content": {"text/csv": {"schema": {"type": "string"}}}}},
    dependencies=[READ_SLOT],
)
async def usage(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    key_id: KeyId,
    read_slots: ReadSlotsOf,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="Days up to today, in UTC.")] = 30,
    form: Annotated[
        Literal["json", "csv"] | None,
        Query(alias="format", description="Default: csv if `Accept` is text/csv, else json."),
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Return what this key used, by day and model, the newest day first. Not part of the hosted API."""
    today = datetime.now(UTC).date()
    is_csv = form == "csv" or (form is None and accept.startswith("text/csv"))

    def read() -> Response:
        rows = [day.as_row() for day in state_of(request.app).usage.read([key_id], today, days)]
        return Response(_csv(rows), media_type="text/csv") if is_csv else LongJson({"usage": rows})

    return await read_slots.read(key_id, read)


def _csv(rows: list[dict[str, Any]]) -> str:
    """Render rows as CSV with a line of headings."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()

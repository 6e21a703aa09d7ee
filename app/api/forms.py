"""Reads multipart forms with files."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.connection import read_chunks, refuse_encoding
from app.api.errors import BadBody, BadRequest
from app.api.state import state_of

FIELDS_MAX = 50
FILES_MAX = 17  # as many as OpenAI accepts; the catalog limits the reference images of a model
FIELD_MAX_BYTES = 64 * 1024
_CUT_OFF = "send multipart/form-data whole: the body was cut off before its closing boundary"


class _Parser(MultiPartParser):
    """Starlette's parser, which also notes whether the form is complete."""

    has_ended = False

    def on_end(self) -> None:
        self.has_ended = True


@asynccontextmanager
async def read_form(
    request: Request,
    largest_bytes: int,
    count: Callable[[int], None] = lambda _: None,
    *,
    field_max_bytes: int = FIELD_MAX_BYTES,
) -> AsyncIterator[FormData]:
    """Read multipart/form-data of an authenticated request, with its files open in the context.

    `count` gets the size of each chunk. Raises BadBody, BadRequest, BodyTooLarge or TooManyRequests.
    """
    with state_of(request.app).upload_slots.slot(request.state.key_id):
        async with _read_form(request, largest_bytes, count, field_max_bytes) as form:
            yield form


@asynccontextmanager
async def _read_form(
    request: Request, largest_bytes: int, count: Callable[[int], None], field_max_bytes: int
) -> AsyncIterator[FormData]:
    """Parse the form of a request, and close its files after the body. Raises what `read_form` raises."""
    refuse_encoding(request)
    content_type = request.headers.get("Content-Type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise BadBody(
            f"send multipart/form-data instead of {content_type[:60] or 'a body without a type'}"
        )
    parser = _Parser(
        request.headers,
        _counted(read_chunks(request, largest_bytes), count),
        max_files=FILES_MAX,
        max_fields=FIELDS_MAX,
        max_part_size=field_max_bytes,
    )
    try:
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, ValueError) as exc:  # ValueError: an unknown charset
            raise BadBody(f"send multipart/form-data: {exc}") from None
        if not parser.has_ended:
            raise BadRequest("the form ends before its last boundary; send it whole", _CUT_OFF)
        yield form
    finally:
        for file in parser._files_to_close_on_error:  # noqa: SLF001 -- all, also of a form that was cut off
            file.close()


async def _counted(
    chunks: AsyncGenerator[bytes, None], count: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        count(len(chunk))
        yield chunk

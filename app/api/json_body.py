"""Reads JSON bodies with bounded work: limits the text and its structure before it is parsed, and keeps images out of it.

Long data URIs are written to temporary files while the body arrives. In the JSON a short handle stands for each, so that
what is parsed has at most a megabyte and a limited number of values, which takes milliseconds.
"""

import hashlib
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from app.api.body_memory import Reserve
from app.api.connection import read_chunks, refuse_encoding
from app.api.errors import BadBody, BodyTooLarge
from app.images.scratch import ScratchFile, ScratchFolder, SentImage

TEXT_MAX_BYTES = 1024 * 1024  # of the body without long data URIs
VALUES_MAX = 5_000  # strings, commas and brackets; a request has some dozens
IMAGES_MAX = 32  # long data URIs; no model takes as many
LONG_BYTES = 16 * 1024
LEAST_BYTES = 8 * 1024  # that a body counts for, because its request takes memory too
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)  # within a string
_COUNTED = b',[]{}"'
_URI = re.compile(rb"\s*data:", re.IGNORECASE)
_BASE64 = re.compile(
    rb"iVBORw0KGgo|\\?/9j\\?/|UklGR|AAAA"
)  # the first bytes of PNG, JPEG, WebP and AVIF


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonBody:
    """A JSON object, and the images for which handles stand in it."""

    content: dict[str, Any]
    images: Mapping[str, SentImage]


async def read_json(
    request: Request, largest_bytes: int, reserve: Reserve = lambda _: None
) -> dict[str, Any]:
    """Read a JSON object of at most 1 MB; `reserve` gets the bytes in memory. Raises BadBody, BodyTooLarge or TooManyRequests."""
    refuse_encoding(request)
    splitter = Splitter(None, reserve=reserve)
    async for chunk in read_chunks(request, min(largest_bytes, TEXT_MAX_BYTES)):
        splitter.feed(chunk)
    return splitter.parse()


async def read_json_with_images(
    request: Request,
    largest_bytes: int,
    folder: ScratchFolder,
    reserve: Reserve = lambda _: None,
    *,
    takes_base64: bool = False,
) -> JsonBody:
    """Read a JSON object that may contain images as data URIs, or as bare base64. The folder receives them.

    `reserve` gets the bytes in memory. Raises BadBody, BodyTooLarge, TooManyRequests, ScratchFull or StorageError.
    """
    refuse_encoding(request)
    splitter = Splitter(folder, reserve=reserve, takes_base64=takes_base64)
    try:
        async for chunk in read_chunks(request, largest_bytes):
            splitter.feed(chunk)
        return JsonBody(content=splitter.parse(), images=splitter.images)
    finally:
        splitter.close()


class Splitter:
    """Separates JSON from the long data URIs in it, chunk by chunk. It knows strings and counts what separates values."""

    def __init__(
        self,
        folder: ScratchFolder | None,
        *,
        reserve: Reserve = lambda _: None,
        takes_base64: bool = False,
    ) -> None:
        self.images: dict[str, SentImage] = {}
        self._folder = folder
        self._takes_base64 = takes_base64
        self._text = bytearray()
        self._values = 0
        self._string_at: int | None = None  # where the content of the open string begins
        self._left = b""  # a backslash at the end of a chunk, whose other half comes later
        self._file: ScratchFile | None = None  # of the open string, once it is a long data URI
        self._digest = hashlib.sha256()
        self._reserve = reserve
        self._reserved_bytes = LEAST_BYTES
        reserve(LEAST_BYTES)

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk. Raises BodyTooLarge, TooManyRequests, ScratchFull or StorageError."""
        chunk, at = self._left + chunk, 0
        is_cut = (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 == 1
        self._left = chunk[-1:] if is_cut else b""
        chunk = chunk[:-1] if is_cut else chunk
        while at < len(chunk):
            if self._string_at is None:
                at = self._feed_structure(chunk, at)
            else:
                at = self._feed_string(chunk, at, self._string_at)
        if len(self._text) > TEXT_MAX_BYTES:
            raise BodyTooLarge("the body without its images, as data URIs, is larger than 1 MB")
        if (more_bytes := len(self._text) - self._reserved_bytes) > 0:
            self._reserve(more_bytes)
            self._reserved_bytes += more_bytes

    def parse(self) -> dict[str, Any]:
        """Parse the text. Raises BadBody."""
        text = bytes(self._text + self._left).removeprefix(BOM_UTF8)
        try:
            parsed = from_json(text, allow_inf_nan=False)
        except ValueError as exc:
            encoding = "" if _is_utf8(text) else " in UTF-8"
            raise BadBody(f"send a JSON object{encoding}: {exc}") from None
        if not isinstance(parsed, dict):
            raise BadBody("send a JSON object")
        return parsed

    def close(self) -> None:
        """Close the file of a string that did not end."""
        if self._file is not None:
            self._file.close()

    def _feed_structure(self, chunk: bytes, at: int) -> int:
        """Take what comes before the next string, and return where its content begins."""
        quote = chunk.find(b'"', at)
        end = len(chunk) if quote < 0 else quote + 1
        piece = chunk[at:end]
        self._values += len(piece) - len(piece.translate(None, _COUNTED))
        if self._values > VALUES_MAX:
            raise BodyTooLarge(f"the body has more than {VALUES_MAX} values; send fewer")
        self._text += piece
        if quote >= 0:
            self._string_at = len(self._text)
        return end

    def _feed_string(self, chunk: bytes, at: int, string_at: int) -> int:
        """Take text of the open string, and return where the rest begins."""
        quote = chunk.find(b'"', at)
        end = quote if quote >= 0 and chunk.find(b"\\", at, quote) < 0 else _end_of(chunk, at)
        piece = chunk[at:end]
        if self._file is not None:
            self._write(piece)
        else:
            self._text += piece
            if len(self._text) - string_at > LONG_BYTES and self._folder is not None:
                self._begin_image(self._folder, string_at)
        if end < len(chunk):
            self._end_string()
            return end + 1
        return len(chunk)

    def _begin_image(self, folder: ScratchFolder, string_at: int) -> None:
        """Move the open string to a file, if it is an image."""
        is_base64 = self._takes_base64 and _BASE64.match(self._text, string_at)
        if not is_base64 and not _URI.match(self._text, string_at):
            return
        if len(self.images) >= IMAGES_MAX:
            raise BodyTooLarge(f"the body has more than {IMAGES_MAX} images; send fewer")
        self._file = folder.create()
        self._digest = hashlib.sha256()
        self._write(b'"data:;base64,' if is_base64 else b'"')
        self._write(bytes(self._text[string_at:]))
        del self._text[string_at:]

    def _end_string(self) -> None:
        if self._file is not None:
            self._write(b'"')
            # by its content, so that an equal body is equal
            handle = f"data:sha256;{self._digest.hexdigest()}"
            self.images[handle] = SentImage(path=self._file.path, is_uri=True)
            self._file.close()
            self._file = None
            self._text += handle.encode()
        self._text += b'"'
        self._string_at = None

    def _write(self, piece: bytes) -> None:
        if self._file is not None:
            self._file.write(piece)
            self._digest.update(piece)


def _is_utf8(text: bytes) -> bool:
    """Return whether the text of a body can be UTF-8; UTF-16 has zeros in it."""
    try:
        return "\0" not in text.decode()
    except UnicodeDecodeError:
        return False


def _end_of(chunk: bytes, at: int) -> int:
    """Return where the text of a string ends: at its closing quote, or at the end of the chunk."""
    match = _TEXT.match(chunk, at)
    return at if match is None else match.end()

"""Reads input images from data URIs, from this server's files, and from URLs of other hosts."""

import asyncio
from http import HTTPStatus

from app.images.check import LARGEST_BYTES
from app.images.data_uri import is_data_uri, parse_data_uri
from app.images.errors import ImageRejected
from app.safe_http import SafeHttp, Unreachable
from app.storage import Storage
from app.storage.errors import FileMissing
from app.storage.links import Links

FETCH_S = 10.0  # timeout of one image, from the first byte sent to the last received
REDIRECTS = 3
# one message for every failure, so that it does not reveal which hosts exist
NOT_FETCHED = (
    "the image could not be fetched; check the URL, or send a data URI; hosts in private networks "
    "must be in KLEIN_ALLOW_HOSTS"
)
NOT_HERE = "the file was not uploaded, has expired or was deleted; upload it, or send a data URI"


class ImageSource:
    """Reads the images that callers name."""

    def __init__(self, storage: Storage, links: Links, outbound: SafeHttp) -> None:
        self._storage = storage
        self._links = links
        self._outbound = outbound

    def read(self, reference: str) -> bytes:
        """Read the image file of a reference. Raises ImageRejected or StorageError."""
        if is_data_uri(reference):
            return parse_data_uri(reference)
        try:
            key = self._links.key_of(reference)
        except ValueError:
            raise ImageRejected("not a URL; send an http(s) URL or a data URI") from None
        if key is not None:
            try:
                return self._storage.get(key, LARGEST_BYTES + 1)
            except FileMissing:
                raise ImageRejected(NOT_HERE) from None
        return self._fetch(reference)

    def _fetch(self, url: str) -> bytes:
        try:
            reply = asyncio.run(
                self._outbound.send(
                    "GET",
                    url,
                    headers={"Accept": "image/*"},
                    max_bytes=LARGEST_BYTES + 1,
                    within_s=FETCH_S,
                    redirects=REDIRECTS,
                )
            )
        except Unreachable:
            raise ImageRejected(NOT_FETCHED) from None
        if len(reply.body) > LARGEST_BYTES:
            raise ImageRejected("the image is too large; send a smaller file")
        if reply.status != HTTPStatus.OK or reply.is_encoded or not reply.is_whole:
            raise ImageRejected(NOT_FETCHED)
        return reply.body

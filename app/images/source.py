"""Reads input images from requests, from this server's files, and from URLs of other hosts, and checks them."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from app.images.check import LARGEST_BYTES, ImageInfo
from app.images.data_uri import content_path, is_data_uri
from app.images.decoders import Decoders
from app.images.errors import ImageRejected, ImageUnreachable
from app.images.mask import MaskReading, mask_path
from app.images.scratch import ScratchFolder, SentImage
from app.safe_http import SafeHttp, Unreachable
from app.storage import Storage
from app.storage.errors import FileMissing
from app.storage.links import Links
from app.turns import AddressLimit, Turns

FETCH_S = 10.0  # all images of a request together, which are fetched at once
FETCHES = 64  # at once, in this process
FETCHES_PER_KEY = 16
FETCHES_PER_ADDRESS = 8  # of one key, however the host's name is spelt
REDIRECTS = 3
STORAGE_READS = 4  # at once; each holds a thread and a file of up to 20 MB
# one message for every failure, so that it does not reveal which hosts exist
NOT_FETCHED = (
    "the image could not be fetched; check the URL, or send a data URI; hosts in private networks "
    "must be in KLEIN_ALLOW_HOSTS"
)
NOT_A_URL = "not a URL; send http(s) or a data URI"
_URL = re.compile(r"\s*https?://[^\s/]", re.IGNORECASE)
NOT_HERE = "the file was not uploaded, has expired or was deleted; upload it, or send a data URI"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """An image that a caller names, and how to read it if it is a mask."""

    url: str  # or a data URI, or the name of an image that came with the request
    mask: MaskReading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedImage:
    """A valid image in a temporary file."""

    path: Path
    info: ImageInfo


class ImageSource:
    """Reads the images that callers name."""

    def __init__(self, storage: Storage, links: Links, http: SafeHttp, decoders: Decoders) -> None:
        self._storage = storage
        self._links = links
        self._http = http
        self._decoders = decoders
        self._fetches = Turns(FETCHES, FETCHES_PER_KEY, FETCH_S)
        self._addresses = AddressLimit(FETCHES_PER_ADDRESS)
        self._reads = Turns(STORAGE_READS, STORAGE_READS // 2, FETCH_S)
        self._threads = CapacityLimiter(STORAGE_READS)

    async def read_all(
        self,
        requests: Sequence[ImageRequest],
        sent: Mapping[str, SentImage],
        folder: ScratchFolder,
        key_id: str,
    ) -> list[CheckedImage | ImageRejected]:
        """Read and check images at once, each named one once. `sent` came with the request and has other names.

        Raises LookupsBusy, NoTurn, ScratchFull, DecoderUnavailable or StorageError.
        """
        deadline_s = asyncio.get_running_loop().time() + FETCH_S
        reading = {}
        try:
            async with asyncio.TaskGroup() as group:
                for request in dict.fromkeys(requests):
                    read = self._read(request, sent.get(request.url), folder, key_id, deadline_s)
                    reading[request] = group.create_task(read)
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from None
        return [reading[request].result() for request in requests]

    async def _read(
        self,
        request: ImageRequest,
        sent: SentImage | None,
        folder: ScratchFolder,
        key_id: str,
        deadline_s: float,
    ) -> CheckedImage | ImageRejected:
        try:
            if sent is None and is_data_uri(request.url):
                sent = SentImage(path=folder.write(json.dumps(request.url).encode()), is_uri=True)
            if sent is None:
                path = await self._receive(request.url, folder, key_id, deadline_s)
                sent = SentImage(path=path, is_uri=False)
            info = await self._decoders.check(
                sent.path, key_id, is_uri=sent.is_uri, mask=request.mask
            )
        except ImageRejected as exc:
            return exc
        path = content_path(sent.path) if sent.is_uri else sent.path
        return CheckedImage(path=path if request.mask is None else mask_path(path), info=info)

    async def _receive(
        self, reference: str, folder: ScratchFolder, key_id: str, deadline_s: float
    ) -> Path:
        """Copy a file of this server or of another host into the folder."""
        try:
            key = self._links.key_of(reference)
        except ValueError:
            raise ImageRejected(NOT_A_URL) from None
        if key is not None:
            async with self._reads.turn(key_id):
                return await to_thread.run_sync(self._copy, key, folder, limiter=self._threads)
        if not _URL.match(reference):
            raise ImageRejected(NOT_A_URL)
        async with self._fetches.turn(key_id):
            return await self._fetch(reference.strip(), folder, key_id, deadline_s)

    def _copy(self, key: str, folder: ScratchFolder) -> Path:
        try:
            return folder.write(self._storage.get(key, LARGEST_BYTES + 1))
        except FileMissing:
            raise ImageUnreachable(NOT_HERE) from None

    async def _fetch(self, url: str, folder: ScratchFolder, key_id: str, deadline_s: float) -> Path:
        within_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
        with folder.create() as file:
            try:
                reply = await self._http.send(
                    "GET",
                    url,
                    headers={"Accept": "image/*"},
                    max_bytes=LARGEST_BYTES + 1,
                    within_s=within_s,
                    redirects=REDIRECTS,
                    owner=key_id,
                    into=file,
                    slots=partial(self._addresses.slots, key_id),
                )
            except Unreachable:
                raise ImageUnreachable(NOT_FETCHED) from None
            if file.tell() > LARGEST_BYTES:
                raise ImageRejected("the image is too large; send a smaller file")
        if reply.status != HTTPStatus.OK or reply.is_encoded or not reply.is_whole:
            raise ImageUnreachable(NOT_FETCHED)
        return file.path

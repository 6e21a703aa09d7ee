"""Fetches LoRA files from hosts that the operator allows, within limits of size and time."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from app.loras.errors import DiskLow, IncompatibleLora
from app.loras.names import CONFIG_MAX_BYTES, PEFT_CONFIG, PEFT_FILE
from app.loras.sources import HUB, HubFile, choose_file, config_url, is_url, permits_host
from app.safe_http import Reply, SafeHttp, Unreachable

LARGEST_BYTES = 1024 * 1024 * 1024
FETCH_S = 60.0
REDIRECTS = 3
FILES_AT_ONCE = 8  # four fetches of one process, each of which is copied once into the storage
_LEFT_S = 3600.0
_LISTING_MAX_BYTES = 4 * 1024 * 1024
# one message for every failure, so that it does not reveal which hosts exist
NOT_FETCHED = (
    "the LoRA could not be fetched; check the URL or the repository, and that it is public; hosts in private "
    "networks must be in KLEIN_ALLOW_HOSTS"
)
FOLDER_ONLY = (
    "this server takes LoRAs from its folder alone; its operator can set KLEIN_LORA_SOURCES"
)
OTHER_HOST = (
    "this server takes no LoRAs from there; its operator can add the source to KLEIN_LORA_SOURCES"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """For whom a LoRA is fetched, and until when."""

    owner: str
    deadline: float  # by time.monotonic


class LoraFetcher:
    """Fetches LoRAs from the hosts in `sources`."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        outbound: SafeHttp,
        sources: tuple[str, ...],
        endpoint: str,
        max_bytes: int,
        scratch: Path,
        reserve_bytes: int = 0,
    ) -> None:
        """`reserve_bytes` of the disk of `scratch` stay free."""
        self._scratch = scratch
        self._outbound = outbound
        self._sources = sources
        self._endpoint = endpoint.rstrip("/")
        self._max_bytes = min(max_bytes, LARGEST_BYTES)
        self._reserve_bytes = reserve_bytes

    @property
    def has_hub(self) -> bool:
        """Whether repositories of the hub may be named."""
        return HUB in self._sources

    def why_refused(self, source: str | HubFile) -> str | None:
        """Return why a source is not allowed, or None if it is."""
        if not self._sources:
            return FOLDER_ONLY
        if isinstance(source, HubFile):
            return None if self.has_hub else OTHER_HOST
        return None if permits_host(source, self._sources, self._endpoint) else OTHER_HOST

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """Create an empty folder for one file, and delete it afterwards, with those of processes that were killed."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        for left in self._scratch.iterdir():
            with suppress(OSError):  # another process deletes it
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(dir=self._scratch) as folder:
            yield Path(folder)

    def fetch(self, source: str | HubFile, folder: Path, owner: str) -> Path:
        """Fetch a LoRA for an API key into an empty folder, and return its file.

        Raises IncompatibleLora, which says what to do, DiskLow or LookupsBusy.
        """
        request = _Request(owner=owner, deadline=time.monotonic() + FETCH_S)
        try:
            url = self._url_of(source, request)
            beside = config_url(url)
            file = folder / (PEFT_FILE if beside else "lora.safetensors")
            room_bytes = self._room_bytes(folder)
            with file.open("wb") as body:
                reply = self._get(url, min(self._max_bytes, room_bytes) + 1, request, body)
            if file.stat().st_size > self._max_bytes:
                raise IncompatibleLora(f"it is larger than {self._max_bytes / 2**20:g} MB")
            if file.stat().st_size > room_bytes:
                raise DiskLow
            _check(reply)
            if beside:
                self._fetch_config(beside, folder / PEFT_CONFIG, request)
        except Unreachable:
            raise IncompatibleLora(NOT_FETCHED) from None
        return file

    def _url_of(self, source: str | HubFile, request: _Request) -> str:
        if isinstance(source, str):
            return source.replace("/blob/", "/resolve/", 1) if self._is_hub_page(source) else source
        if source.file is not None:
            return source.url(self._endpoint, source.file)
        reply = self._get(source.files_url(self._endpoint), _LISTING_MAX_BYTES, request)
        _check(reply)
        try:
            listing = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise IncompatibleLora(NOT_FETCHED) from None
        return source.url(self._endpoint, choose_file(listing))

    def _fetch_config(self, url: str, file: Path, request: _Request) -> None:
        """Fetch the configuration that PEFT writes beside its file. A repository may have none."""
        reply = self._get(url, CONFIG_MAX_BYTES, request)
        if reply.status != HTTPStatus.NOT_FOUND:
            _check(reply)
            file.write_bytes(reply.body)

    def _get(
        self, url: str, max_bytes: int, request: _Request, into: BinaryIO | None = None
    ) -> Reply:
        return asyncio.run(
            self._outbound.send(
                "GET",
                url,
                headers={},
                max_bytes=max_bytes,
                within_s=max(0.1, request.deadline - time.monotonic()),
                owner=request.owner,
                redirects=REDIRECTS,
                into=into,
            )
        )

    def _room_bytes(self, folder: Path) -> int:
        """Return how large a file may be, so that as many as are fetched at once leave the reserve free."""
        free_bytes = shutil.disk_usage(folder).free
        return max(0, free_bytes - self._reserve_bytes) // FILES_AT_ONCE

    def _is_hub_page(self, url: str) -> bool:
        return is_url(url) and url.startswith(f"{self._endpoint}/")


def _check(reply: Reply) -> None:
    if reply.status != HTTPStatus.OK or reply.is_encoded or not reply.is_whole:
        raise IncompatibleLora(NOT_FETCHED)

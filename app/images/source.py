"""Where input images come from: data URIs, this server's own files, and hosts that the operator allows."""

import time
from urllib.parse import urlsplit

import httpx

from app.images.check import LARGEST_BYTES
from app.images.data_uri import is_data_uri, parse_data_uri
from app.images.errors import ImageRejected
from app.storage import Storage
from app.storage.errors import FileMissing
from app.storage.links import Links

FETCH_S = 10.0  # for one image, from the first byte sent to the last received


class ImageSource:
    """Gives the bytes of the images that callers name."""

    def __init__(self, storage: Storage, links: Links, allowed_hosts: tuple[str, ...]) -> None:
        self._storage = storage
        self._links = links
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)

    def read(self, reference: str) -> bytes:
        """Give the image file behind a reference. Raises ImageRejected or StorageError."""
        if is_data_uri(reference):
            return parse_data_uri(reference)
        try:
            key = self._links.key_of(reference)
            host = urlsplit(reference).hostname
        except ValueError:
            raise ImageRejected("not a URL; send an http(s) URL or a data URI") from None
        if key is not None:
            try:
                return self._storage.get(key)
            except FileMissing:
                raise ImageRejected("the file has expired; send it again as a data URI") from None
        if host is None or host.lower() not in self._allowed_hosts:
            raise ImageRejected(
                "this server does not fetch from that host; send a data URI or one of its own file "
                "URLs, or ask the operator to add the host to KLEIN_ALLOW_HOSTS"
            )
        return _fetch(reference)


def _fetch(url: str) -> bytes:
    """Fetch from an allowed host, following no redirect. Raises ImageRejected."""
    gives_up = time.monotonic() + FETCH_S
    headers = {"Accept": "image/*", "Accept-Encoding": "identity"}
    data = bytearray()
    try:
        with (
            httpx.Client(trust_env=False, timeout=FETCH_S, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK or "content-encoding" in response.headers:
                raise ImageRejected("the image could not be fetched")
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > LARGEST_BYTES:
                    raise ImageRejected("the image is too large; send a smaller file")
                if time.monotonic() > gives_up:
                    raise ImageRejected("the image could not be fetched")
    except (httpx.HTTPError, httpx.InvalidURL):
        raise ImageRejected("the image could not be fetched") from None
    return bytes(data)

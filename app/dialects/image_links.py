"""Renders output images for any dialect, as URLs or as data URIs. Does no I/O."""

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.predictions.prediction import Output, Prediction

RenderOutput = Callable[[Output], str]  # an output as a URL or data URI
Link = Callable[[str, datetime], str]  # (storage key, expiry) -> absolute URL


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLinks:
    """Makes the URLs of images for one caller."""

    base: str  # the public base URL, without a trailing slash
    retention: timedelta
    link: Link
    mount: str = ""  # the prefix of the dialect in the path of the request, such as /replicate

    @property
    def api(self) -> str:
        """The base URL of the dialect's own routes."""
        return self.base + self.mount

    def url(self, prediction: Prediction, output: Output) -> str:
        """Return the URL of an output, valid until the output is deleted."""
        return self.link(output.key, retained_until(prediction, self.retention))

    def input(self, prediction: Prediction) -> dict[str, Any]:
        """Return the input, with URLs in place of the storage keys of stored images."""
        image_urls = prediction.input.get("image_urls")
        if not prediction.reference_keys or not isinstance(image_urls, list):
            return prediction.input
        expires = prediction.created_at + (prediction.retention or self.retention)
        links = [
            self.link(url, expires) if url == key else url
            for url, key in zip(image_urls, prediction.reference_keys, strict=True)
        ]
        shown = prediction.input | {"image_urls": links}
        if prediction.mask_key and shown.get("mask_url") == prediction.mask_key:
            shown["mask_url"] = self.link(prediction.mask_key, expires)
        return shown


def data_uri(output: Output, data: bytes) -> str:
    """Render an output as a data URI, for sync mode."""
    media_type = mimetypes.guess_type(output.key)[0]
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def retained_until(prediction: Prediction, retention: timedelta) -> datetime:
    """Return the time at which the images are deleted. `retention` is that of the server."""
    ended_at = prediction.finished_at or prediction.created_at
    return ended_at + (prediction.retention or retention)


def format_time(at: datetime | None) -> str | None:
    """Format a time as ISO 8601 with `Z`."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")

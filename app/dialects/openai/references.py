"""Reads the images of an edit, which clients send as files, text or JSON under several names."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import FormData, UploadFile

from app.dialects.image_uri import uri_of
from app.predictions.errors import FieldProblem, InvalidInput

_FORM_NAME = re.compile(r"images?(?:\[\d{0,3}\])?|image_url")
_JSON_NAMES = ("images", "image", "image_url", "reference_images")
KeepImage = Callable[[UploadFile], Awaitable[str]]  # an uploaded file -> its name in the input
LocateFile = Callable[[str], str]  # the id of an uploaded file -> its URL


async def read_form_images(form: FormData, keep: KeepImage) -> list[str]:
    """Return the images of a form as URLs, data URIs or names of files, in the order in which they came."""
    images = []
    for name, value in form.multi_items():
        if not _FORM_NAME.fullmatch(name):
            continue
        if isinstance(value, UploadFile):
            images.append(await keep(value))
        elif value:
            images.append(uri_of(value))
    return images


def form_fields(form: FormData) -> dict[str, Any]:
    """Return the fields of a form that are not its images."""
    return {name: value for name, value in form.items() if not _FORM_NAME.fullmatch(name)}


def read_json_images(body: dict[str, Any], locate: LocateFile) -> list[str]:
    """Return the images of a JSON body as URLs or data URIs. Raises InvalidInput."""
    images = []
    for name in _JSON_NAMES:
        value = body.get(name)
        items = value if isinstance(value, list) else [value] if value else []
        images += [_image(name, item, locate) for item in items]
    return images


def read_json_mask(body: dict[str, Any], locate: LocateFile) -> str | None:
    """Return the mask of a JSON body as a URL or data URI, or None for no mask. Raises InvalidInput."""
    return _image("mask", body["mask"], locate) if body.get("mask") else None


async def read_form_mask(form: FormData, keep: KeepImage) -> str | None:
    """Return the mask of a form as a URL, a data URI or the name of a file, or None for no mask."""
    mask = form.get("mask")
    if isinstance(mask, UploadFile):
        return await keep(mask)
    return uri_of(mask) if mask else None


def _image(name: str, item: Any, locate: LocateFile) -> str:
    if isinstance(item, dict):
        if isinstance(item.get("file_id"), str):
            return locate(item["file_id"])
        item = item.get("image_url", item.get("url"))
        item = item.get("url") if isinstance(item, dict) else item
    if not isinstance(item, str) or not item:
        message = (
            "send an image as a URL, a data URI, base64, or an object with image_url or file_id"
        )
        raise InvalidInput(FieldProblem(field=name, message=message))
    return uri_of(item)

"""The input images of a request: which ones are read, and what the record shows in their place; pure."""

from collections.abc import Sequence
from typing import Any

from app.images.data_uri import is_data_uri
from app.images.errors import ImageRejected
from app.images.mask import WHITE_IS_REDRAWN, MaskReading
from app.images.source import CheckedImage, ImageRequest
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import ModelInput


def image_requests(checked: ModelInput, mask_reading: MaskReading) -> list[ImageRequest]:
    """Return the reference images of an input, and its mask after them."""
    requests = [ImageRequest(url=url) for url in checked.reference_urls]
    if checked.mask is not None:
        requests.append(ImageRequest(url=checked.mask, mask=mask_reading))
    return requests


def all_valid(
    requests: Sequence[ImageRequest], outcomes: Sequence[CheckedImage | ImageRejected]
) -> list[CheckedImage]:
    """Return the images. Raises InvalidInput where one is not valid."""
    problems = [
        FieldProblem(
            field=f"image_urls[{k}]" if request.mask is None else "mask_url", message=str(outcome)
        )
        for k, (request, outcome) in enumerate(zip(requests, outcomes, strict=True))
        if isinstance(outcome, ImageRejected)
    ]
    if problems:
        raise InvalidInput(*problems)
    return [outcome for outcome in outcomes if isinstance(outcome, CheckedImage)]


def stored_input(
    checked: ModelInput,
    seed: int,
    reference_keys: Sequence[str],
    mask_key: str,
    mask_reading: MaskReading,
) -> dict[str, Any]:
    """Return the fields that the caller sent and the model has, with the seed, and storage keys in place of data URIs.

    A mask that must be read in a way of its own is shown as it is stored, in which white is redrawn.
    """
    stored = checked.model_dump(exclude_unset=True) | {"seed": seed}
    if urls := checked.reference_urls:
        stored["image_urls"] = [
            key if is_data_uri(url) else url for url, key in zip(urls, reference_keys, strict=True)
        ]
    if (mask := checked.mask) is not None:
        is_stored = is_data_uri(mask) or mask_reading != WHITE_IS_REDRAWN
        stored["mask_url"] = mask_key if is_stored else mask
    return stored

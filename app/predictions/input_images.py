"""The input images of a request: which ones are read, and what the record shows in their place. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.images.data_uri import is_data_uri
from app.images.errors import ImageRejected, ImageUnreachable
from app.images.mask import WHITE_IS_REDRAWN, MaskReading
from app.images.source import CheckedImage, ImageRequest
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.failure import Cause, Failure
from app.predictions.inputs import ModelInput


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImages:
    """The images of a request, None for one that is unreachable, and the failure that follows from it."""

    images: Sequence[CheckedImage | None] = ()
    failure: Failure | None = None

    @property
    def first_size(self) -> tuple[int, int] | None:
        """Return width and height of the first one in pixels, or None if there is none."""
        first = self.images[0] if self.images else None
        return None if first is None else (first.info.width, first.info.height)

    def storage_keys(self, prediction_id: str) -> list[str]:
        """Return a key in the storage for each image, '' for an unreachable one."""
        return [
            "" if image is None else f"{prediction_id}/in-{k}.{image.info.format}"
            for k, image in enumerate(self.images)
        ]


def image_requests(checked: ModelInput, mask_reading: MaskReading) -> list[ImageRequest]:
    """Return the reference images of an input, and its mask after them."""
    requests = [ImageRequest(url=url) for url in checked.reference_urls]
    if checked.mask is not None:
        requests.append(ImageRequest(url=checked.mask, mask=mask_reading))
    return requests


def usable_images(
    requests: Sequence[ImageRequest],
    outcomes: Sequence[CheckedImage | ImageRejected],
    *,
    accepts_unreachable: bool,
) -> InputImages:
    """Return the images. Raises InvalidInput if one is not valid, or unreachable unless that is accepted."""
    problems = [
        FieldProblem(
            field=f"image_urls[{k}]" if request.mask is None else "mask_url", message=str(outcome)
        )
        for k, (request, outcome) in enumerate(zip(requests, outcomes, strict=True))
        if isinstance(outcome, ImageRejected)
    ]
    images = [outcome if isinstance(outcome, CheckedImage) else None for outcome in outcomes]
    if not problems:
        return InputImages(images=images)
    invalid = InvalidInput(*problems)
    rejected = [outcome for outcome in outcomes if isinstance(outcome, ImageRejected)]
    if not accepts_unreachable or not all(isinstance(r, ImageUnreachable) for r in rejected):
        raise invalid
    failure = Failure(cause=Cause.INPUT_UNREACHABLE, message=str(invalid))
    return InputImages(images=images, failure=failure)


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
        is_shown_stored = is_data_uri(mask) or mask_reading != WHITE_IS_REDRAWN
        stored["mask_url"] = mask_key if is_shown_stored and mask_key else mask
    return stored

"""Defines the errors of input images. Their messages are for the caller."""


class ImageRejected(ValueError):
    """The image cannot be used; send a still PNG, JPEG, WebP or AVIF."""


class ImageUnreachable(ImageRejected):
    """There is no image at its URL."""

"""Defines the error of an invalid input image; its message is for the caller."""


class ImageRejected(ValueError):
    """The image cannot be used; send a still PNG, JPEG, WebP or AVIF."""

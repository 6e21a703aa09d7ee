"""Why an input image is refused; the message is for the caller."""


class ImageRejected(ValueError):
    """The image cannot be used; send a still PNG, JPEG or WebP."""

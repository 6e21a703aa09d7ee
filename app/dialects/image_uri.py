"""Reads images that a request holds as text. Does no I/O."""

_SCHEMES = ("http:", "https:", "data:")


def uri_of(text: str) -> str:
    """Return an image as a URL or a data URI. Other text is read as base64."""
    is_uri = text[:64].lstrip().lower().startswith(_SCHEMES)
    return text if is_uri else f"data:application/octet-stream;base64,{text}"

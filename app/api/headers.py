"""Sets the security headers of every response."""

from starlette.types import Message

_EVERYWHERE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_REQUEST_ID = b"x-request-id"


def set_headers(start: Message, request_id: str) -> None:
    """Add the id of the request to the start of a response, and each security header that the route has not set."""
    headers = [header for header in start["headers"] if header[0] != _REQUEST_ID]
    names = {name for name, _ in headers}
    headers.append((_REQUEST_ID, request_id.encode("latin-1")))
    headers.extend(header for header in _EVERYWHERE if header[0] not in names)
    start["headers"] = headers

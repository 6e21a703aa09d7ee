"""Compresses the bodies of responses that are long and repeat themselves, such as lists in JSON."""

import gzip
import re

from fastapi import Request
from fastapi.responses import Response

_ZERO = re.compile(r"q=0(\.0*)?", re.IGNORECASE)
LEVEL = 1  # half the time of the default, 9, on text that hardly repeats itself


def accepts_gzip(request: Request) -> bool:
    """Return whether Accept-Encoding names gzip, and not with a weight of 0."""
    for coding in request.headers.get("Accept-Encoding", "").split(","):
        name, _, weight = coding.replace(" ", "").partition(";")
        if name.lower() == "gzip":
            return _ZERO.fullmatch(weight) is None
    return False


def compress(request: Request, response: Response) -> Response:
    """Compress the body of a response with gzip if the caller accepts that, and return the response."""
    response.headers["Vary"] = "Accept-Encoding"
    if accepts_gzip(request):
        response.body = gzip.compress(response.body, LEVEL, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response

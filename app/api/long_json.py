"""Writes long JSON in pieces, so that other threads run in between: writing at once holds the interpreter for its whole time."""

import json
from typing import Any

from fastapi.responses import JSONResponse


class LongJson(JSONResponse):
    """A response of an object or an array, each item of whose lists is one piece."""

    def render(self, content: Any) -> bytes:
        """Write the content as JSONResponse does."""
        if isinstance(content, list):
            return _list(content)
        pieces = (
            _piece(name) + b":" + (_list(value) if isinstance(value, list) else _piece(value))
            for name, value in content.items()
        )
        return b"{" + b",".join(pieces) + b"}"


def _list(items: list[Any]) -> bytes:
    return b"[" + b",".join([_piece(item) for item in items]) + b"]"


def _piece(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

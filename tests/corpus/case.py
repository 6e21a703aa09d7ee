"""One bad input, and how its parts are encoded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.corpus.answers import Dialect

KEY = "the corpus's key of more than 32 characters"
JSON: Mapping[str, str | bytes] = MappingProxyType({"Content-Type": "application/json"})
NONE: Mapping[str, str | bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request that must be refused."""

    method: str = "POST"
    path: str = "/v1/prediction"
    headers: Mapping[str, str | bytes] = field(default_factory=lambda: JSON)
    body: bytes = b""
    key: str | None = KEY
    status: int
    names: str
    """The field, parameter, header or thing that the error names."""
    says: str = ""
    """Words of the advice in the error, if they matter."""
    dialect: Dialect = "eachlabs"

    def __str__(self) -> str:
        """Return a name that distinguishes the case from others."""
        shown = (
            self.body[:40] if len(self.body) < 200 else self.body[:20] + b"..." + self.body[-20:]
        )
        return f"{self.method} {self.path[:60]} {self.names} {len(self.body)} {shown!r}"


def written(value: Any) -> bytes:
    """Encode as JSON, including surrogates and infinities."""
    return json.dumps(value).encode()


def form(*parts: tuple[str, bytes] | tuple[str, bytes, str]) -> bytes:
    """Encode as multipart/form-data: name, content and, for files, a file name."""
    lines = []
    for name, content, *file in parts:
        filename = f'; filename="{file[0]}"' if file else ""
        lines.append(
            f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return b"".join(lines) + b"--b--\r\n"


CUT_OFF = "the body was cut off"
"""The message for a form without its closing boundary."""
FORM: Mapping[str, str | bytes] = MappingProxyType(
    {"Content-Type": "multipart/form-data; boundary=b"}
)

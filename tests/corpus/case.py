"""One bad input, and how its parts are written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.corpus.answers import Dialect

KEY = "the corpus's key"
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
    """The field, parameter, header or thing that the answer names."""
    says: str = ""
    """Words of what to do, where they matter."""
    dialect: Dialect = "eachlabs"

    def __str__(self) -> str:
        """Tell it apart from the others."""
        shown = (
            self.body[:40] if len(self.body) < 200 else self.body[:20] + b"..." + self.body[-20:]
        )
        return f"{self.method} {self.path[:60]} {self.names} {len(self.body)} {shown!r}"


def written(value: Any) -> bytes:
    """Write JSON, surrogates and infinities included."""
    return json.dumps(value).encode()


def form(*parts: tuple[str, bytes] | tuple[str, bytes, str]) -> bytes:
    """Write multipart/form-data: name, content and, for files, a file name."""
    lines = []
    for name, content, *file in parts:
        told = f'; filename="{file[0]}"' if file else ""
        lines.append(
            f'--b\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return b"".join(lines) + b"--b--\r\n"


CUT_OFF = "the body was cut off"
"""What a form without its closing boundary is told."""
FORM: Mapping[str, str | bytes] = MappingProxyType(
    {"Content-Type": "multipart/form-data; boundary=b"}
)

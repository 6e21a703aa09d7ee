"""Tests of reading a request body as a JSON object."""

import pytest
from fastapi import Request

from app.api.connection import read_json
from app.api.errors import BadBody, BodyTooLarge


def request(*parts, **headers):
    """Return a request whose body arrives in these parts."""
    messages = [
        *({"type": "http.request", "body": part, "more_body": True} for part in parts),
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def receive():
        return messages.pop(0)

    raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw_headers}, receive)


async def test_an_object_is_read_from_its_parts():
    """An object is read however its bytes are split, and integers keep all their digits."""
    split = request(b'{"seed": 123456789012', b"34567890123, ", b'"x": [null]}')

    assert await read_json(split, 1000) == {"seed": 12345678901234567890123, "x": [None]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"x"',
        b"null",
        b"5",
        b'{"model":"m","input":{}',
        b'{"model":"m","input":{"x":NaN}}',
        b'{"model":"m","input":{"x":"\\ud800"}}',
        b'{"model":"\xff"}',
        b'{"a":' * 5000,
    ],
)
async def test_what_is_not_a_json_object(body):
    """A body that is not a valid JSON object is refused."""
    with pytest.raises(BadBody, match=r"^send a JSON object"):
        await read_json(request(body), 100_000)


@pytest.mark.parametrize("headers", [{}, {"content-length": "11"}, {"content-length": "9" * 5000}])
async def test_a_body_that_is_too_large_is_refused(headers):
    """A body over the limit is refused, with or without a Content-Length."""
    with pytest.raises(BodyTooLarge):
        await read_json(request(b'{"a": ', b'"bcde"}', **headers), 10)

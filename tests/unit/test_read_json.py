"""How a body is read as a JSON object, and what is none."""

import pytest
from fastapi import Request

from app.api.connection import read_json
from app.api.errors import BadBody, BodyTooLarge


def request(*parts, **headers):
    """A request whose body comes in these parts."""
    messages = [
        *({"type": "http.request", "body": part, "more_body": True} for part in parts),
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def receive():
        return messages.pop(0)

    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": told}, receive)


async def test_an_object_is_read_from_its_parts():
    """However the bytes are cut, the object is what was sent; integers keep all their digits."""
    asked = request(b'{"seed": 123456789012', b"34567890123, ", b'"x": [null]}')

    assert await read_json(asked, 1000) == {"seed": 12345678901234567890123, "x": [None]}


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
    """Text, scalars, cut-off, endlessly nested and wrongly encoded bodies are bad bodies."""
    with pytest.raises(BadBody, match=r"^send a JSON object"):
        await read_json(request(body), 100_000)


@pytest.mark.parametrize("told", [{}, {"content-length": "11"}, {"content-length": "9" * 5000}])
async def test_a_body_that_is_too_large_is_refused(told):
    """Whether it says its size or not."""
    with pytest.raises(BodyTooLarge):
        await read_json(request(b'{"a": ', b'"bcde"}', **told), 10)

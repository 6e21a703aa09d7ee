"""Tests of reading a request body as a JSON object."""

import pytest
from fastapi import Request

from app.api.errors import BadBody, BodyTooLarge
from app.api.json_body import read_json


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


async def test_split_body_is_parsed():
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
        b'{"a":' * 1000,
    ],
)
async def test_invalid_json_object_is_refused(body):
    """A body that is not a valid JSON object is refused."""
    with pytest.raises(BadBody, match=r"^send a JSON object"):
        await read_json(request(body), 100_000)


@pytest.mark.parametrize("headers", [{}, {"content-length": "11"}, {"content-length": "9" * 5000}])
async def test_body_over_limit_is_refused(headers):
    """A body over the limit is refused, with or without a Content-Length."""
    with pytest.raises(BodyTooLarge):
        await read_json(request(b'{"a": ', b'"bcde"}', **headers), 10)


async def test_byte_order_mark_is_skipped():
    """Programs of Windows begin UTF-8 with a byte order mark."""
    assert await read_json(request(b"\xef\xbb\xbf", b'{"x": 1}'), 1000) == {"x": 1}


@pytest.mark.parametrize("body", ['{"x": "é"}'.encode("utf-16"), '{"x": "é"}'.encode("latin-1")])
async def test_other_encoding_is_named(body):
    """A body in another encoding is refused with the name of the right one."""
    with pytest.raises(BadBody, match="in UTF-8"):
        await read_json(request(body), 1000)


async def test_compressed_body_is_refused_by_name():
    """A compressed body is refused with the header that says so."""
    with pytest.raises(BadBody, match="without Content-Encoding; gzip"):
        await read_json(request(b"\x1f\x8b", **{"content-encoding": "gzip"}), 1000)
    assert await read_json(request(b"{}", **{"content-encoding": "identity"}), 1000) == {}

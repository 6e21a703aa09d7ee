"""Tests of parsing data URIs."""

import base64
from urllib.parse import quote

import pytest

from app.images.data_uri import is_data_uri, parse_data_uri
from app.images.errors import ImageRejected

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"?"
OTHER = base64.b64encode(bytes(99)).decode()
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/jpg;charset=utf-8;BASE64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT}",
        f"data:image/webp;base64,{TEXT.rstrip('=')}",
        f"data:image/webp;base64,{TEXT.replace('+', '-').replace('/', '_')}",
        f"data:image/png;base64,{TEXT[:76]}\r\n{TEXT[76:]}\n",
        f"data:image/png;base64,{TEXT.replace('=', '%3D')}",
        f"data:image/png;base64,{quote(TEXT, safe='')}",
        f"data:image/png;base64,{TEXT.replace('+', ' ')}",
        f"data:image/png;base64,{TEXT.replace('+', ' ').rstrip('=')}",
        f"data:image/png;base64,{' '.join(TEXT[k : k + 60] for k in range(0, len(TEXT), 60))}",
        "data:image/png;base64," + "\n    ".join(TEXT[k : k + 60] for k in range(0, len(TEXT), 60)),
        f"  data:text/plain;base64,{TEXT}\n",
        f"data:text/html;base64,{TEXT}",
        f"data:image/png,{quote(DATA)}",
    ],
)
def test_data_uri_forms_are_parsed(uri):
    """Every form of data URI that clients write gives the bytes."""
    assert parse_data_uri(uri) == DATA


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://example.com/a.png", "not a data URI"),
        ("data:image/png;base64" + TEXT, "not a data URI"),
        ("data:" + "x" * 10_000 + ",", "not a data URI"),
        (f"data:text/html;base64,{OTHER}", "holds text/html"),
        ("data:image/svg+xml,<svg/>", "neither base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,####", "base64 is broken"),
        ("data:image/png;base64,AAAAA", "base64 is broken"),
        ("data:image/png;base64,ÄÄÄÄ", "base64 is broken"),
    ],
)
def test_invalid_data_uri_is_named(uri, message):
    """The error says what is wrong and does not repeat the data."""
    with pytest.raises(ImageRejected, match=message) as caught:
        parse_data_uri(uri)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("size", [998, 999, 1000])
def test_largest_size_is_accepted(size):
    """The limit counts decoded bytes and is inclusive."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    assert len(parse_data_uri(uri, largest_bytes=1000)) == size


@pytest.mark.parametrize("size", [1001, 1002, 2000])
def test_larger_size_is_refused(size):
    """More bytes than the limit are refused."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    with pytest.raises(ImageRejected, match="larger than"):
        parse_data_uri(uri, largest_bytes=1000)


def test_oversized_text_is_not_decoded():
    """A text far beyond the limit is refused by its length, before it is decoded."""
    with pytest.raises(ImageRejected, match="larger than 20 MB"):
        parse_data_uri("data:image/png;base64," + "#" * 30_000_000)


def test_data_uris_are_recognised():
    """Only a text that begins with `data:` is a data URI."""
    assert is_data_uri("Data:,")
    assert not is_data_uri("https://data:80/")

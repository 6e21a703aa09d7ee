"""Tests of parsing data URIs."""

import base64

import pytest

from app.images.data_uri import is_data_uri, parse_data_uri
from app.images.errors import ImageRejected

DATA = bytes(range(256)) + b"?"
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
    ],
)
def test_what_clients_write_is_read(uri):
    """Every form of data URI that clients write gives the bytes."""
    assert parse_data_uri(uri) == DATA


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://example.com/a.png", "not a data URI"),
        ("data:image/png;base64" + TEXT, "not a data URI"),
        ("data:" + "x" * 10_000 + ",", "not a data URI"),
        (f"data:text/html;base64,{TEXT}", "holds text/html"),
        ("data:image/svg+xml,<svg/>", "not base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,####", "base64 is broken"),
        ("data:image/png;base64,AAAAA", "base64 is broken"),
        ("data:image/png;base64,ÄÄÄÄ", "base64 is broken"),
    ],
)
def test_what_is_not_an_image_is_named(uri, message):
    """The error says what is wrong and does not repeat the data."""
    with pytest.raises(ImageRejected, match=message) as caught:
        parse_data_uri(uri)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("size", [998, 999, 1000])
def test_largest_size_is_allowed(size):
    """The limit counts decoded bytes and is inclusive."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    assert len(parse_data_uri(uri, largest_bytes=1000)) == size


@pytest.mark.parametrize("size", [1001, 1002, 2000])
def test_larger_is_refused(size):
    """More bytes than the limit are refused."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    with pytest.raises(ImageRejected, match="larger than"):
        parse_data_uri(uri, largest_bytes=1000)


def test_gigantic_text_is_not_decoded():
    """A text far beyond the limit is refused by its length, before it is decoded."""
    with pytest.raises(ImageRejected, match="larger than 20 MB"):
        parse_data_uri("data:image/png;base64," + "#" * 30_000_000)


def test_data_uris_are_recognised():
    """Only a text that begins with `data:` is a data URI."""
    assert is_data_uri("Data:,")
    assert not is_data_uri("https://data:80/")

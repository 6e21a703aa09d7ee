"""Tests that any text in place of a data URI gives bytes or an ImageRejected."""

import base64
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from app.images.data_uri import parse_data_uri
from app.images.errors import ImageRejected

HEADS = st.builds(
    "data:{}{}{},".format,
    st.sampled_from(["", "image/png", "image/", "application/octet-stream", "text/html", "\0"]),
    st.text(";=", max_size=5),
    st.sampled_from(["", "base64", ";base64", "BASE64", "charset=utf-8;base64"]),
)


@given(st.text() | st.builds("{}{}".format, HEADS, st.text("AZaz09+/-_=%3D \n\0é", max_size=80)))
def test_any_text_is_decoded_or_refused(text):
    """Any text gives bytes or an ImageRejected."""
    with suppress(ImageRejected):
        assert parse_data_uri(text)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["image/png", "", "image/jpg"]))
def test_data_uri_round_trip(data, media_type):
    """Any bytes are the same after encoding and parsing."""
    assert parse_data_uri(f"data:{media_type};base64,{base64.b64encode(data).decode()}") == data

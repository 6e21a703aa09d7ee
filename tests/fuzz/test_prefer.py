"""Tests that any `Prefer` header gives a wait within bounds."""

import pytest
from fastapi import Request
from hypothesis import example, given
from hypothesis import strategies as st

from app.dialects.eachlabs import create_headers as eachlabs
from app.dialects.replicate import routes as replicate

NUMBERS = st.floats().map(repr) | st.integers().map(str) | st.text("0123456789._+-eE", max_size=40)
NEARLY = st.builds(
    "{}wait{}{}{}".format, *[st.text("=\"',; \t", max_size=3)] * 2, NUMBERS, st.text()
)


@pytest.mark.parametrize("read", [eachlabs.preferred_wait, replicate.preferred_wait])
@given(sent=(st.text() | NEARLY).map(lambda text: text.encode(errors="surrogatepass")))
@example(sent=b"wait=1e999")
@example(sent=b"wait=" + b"9" * 60_000)
@example(sent=b" " * 60_000)
def test_any_prefer_header_gives_valid_wait(read, sent):
    """Any header gives a wait from 0 to 60 seconds, without an error."""
    assert 0 <= read(Request({"type": "http", "headers": [(b"prefer", sent)]})) <= 60

"""Feeds a form's field that carries JSON with text of any kind."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.dialects.replicate.wire import metadata_of
from app.predictions.errors import InvalidInput

SOME_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), SOME_JSON).map(json.dumps)


@given(st.text() | OBJECTS)
@example("[" * 60_000)
@example('{"a":' * 30_000)
@example('{"a": NaN}')
@example('{"a": "\\ud800"}')
@example('{"a": ' + "9" * 5000 + "}")
def test_any_metadata_is_read_or_refused(text):
    """Metadata is refused, or is an object that can be stored and shown again."""
    try:
        metadata = metadata_of(text)
    except InvalidInput:
        return

    assert json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_no_metadata_is_empty(text):
    """A form without metadata has none."""
    assert metadata_of(text) == {}

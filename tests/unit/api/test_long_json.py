"""Tests of JSON that is written in pieces."""

import pytest
from fastapi.responses import JSONResponse

from app.api.long_json import LongJson


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        [1, "é", None],
        {"entries": [], "total": 0},
        {"entries": [{"a": [1, {"b": "\U0001f534"}]}, {"c": None}], 'a "name"': {"x": [1.5]}},
    ],
)
def test_pieces_are_whole_json(content):
    """The body is the one that a JSONResponse has."""
    assert LongJson(content).body == JSONResponse(content).body


def test_numbers_that_json_lacks_are_refused():
    """A list with a number that is none is an error, as it is for a JSONResponse."""
    with pytest.raises(ValueError, match="JSON compliant"):
        LongJson({"entries": [float("nan")]})

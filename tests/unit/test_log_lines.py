"""Lines of a log, however long."""

import asyncio

import pytest

from app.log_lines import LINE_MAX_BYTES, read_lines


async def lines_of(*parts):
    stream = asyncio.StreamReader()
    for part in parts:
        stream.feed_data(part)
    stream.feed_eof()
    return [line async for line in read_lines(stream)]


async def test_lines_are_split_where_they_end():
    """Lines come without their ends, wherever the parts are cut."""
    assert await lines_of(b"one\ntw", b"o\n\nthree") == ["one", "two", "", "three"]


@pytest.mark.parametrize("size", [LINE_MAX_BYTES + 1, 5 * LINE_MAX_BYTES])
async def test_long_line_is_cut_and_reading_goes_on(size):
    """A line over the limit is cut, and the lines behind it are read."""
    long, last = await lines_of(b"x" * size, b"\nlast\n")

    assert long == "x" * LINE_MAX_BYTES + " (cut)"
    assert last == "last"

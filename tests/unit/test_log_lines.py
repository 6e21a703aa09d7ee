"""Lines of a log, however long."""

import os
import threading
import time

import pytest

from app import log_lines
from app.log_lines import LINE_MAX_BYTES, read_lines


async def lines_of(*parts, pause_s=0.0):
    reading, writing = os.pipe()

    def write():
        for part in parts:
            sent = 0
            while sent < len(part):
                sent += os.write(writing, part[sent:])
            time.sleep(pause_s)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    lines = [line async for line in read_lines(reading)]
    thread.join()
    os.close(reading)
    return lines


async def test_lines_are_split_where_they_end():
    """Lines come without their ends, wherever the parts are cut."""
    assert await lines_of(b"one\ntw", b"o\n\nthree") == ["one", "two", "", "three"]


@pytest.mark.parametrize("size", [LINE_MAX_BYTES + 1, 5 * LINE_MAX_BYTES])
async def test_long_line_is_cut_and_reading_goes_on(size):
    """A line over the limit is cut, and the lines behind it are read."""
    long, last = await lines_of(b"x" * size, b"\nlast\n")

    assert long == "x" * LINE_MAX_BYTES + " (cut)"
    assert last == "last"


async def test_lines_are_gathered(monkeypatch):
    """Lines that come one after the other are read together, so that they wake the process once in a while."""
    parts = []

    def read(pipe, size, read=os.read):
        parts.append(read(pipe, size))
        return parts[-1]

    monkeypatch.setattr(log_lines, "GATHER_S", 0.5)
    monkeypatch.setattr(os, "read", read)
    assert await lines_of(*[b"line\n"] * 20, pause_s=0.005) == ["line"] * 20
    assert len(parts) <= 10

"""Reads the lines of a process's log, of any length, with bounded memory."""

import asyncio
import os
from collections.abc import AsyncGenerator

LINE_MAX_BYTES = 1024 * 1024
GATHER_S = 0.05
"""How long lines are gathered. Otherwise each would wake this process while others serve a request."""
_READ_BYTES = 64 * 1024  # as much as a pipe holds


async def read_lines(pipe: int) -> AsyncGenerator[str]:
    """Yield the lines of a pipe without their ends. What is behind LINE_MAX_BYTES of a line is left out."""
    line, gather_s = b"", GATHER_S
    while part := await _read(pipe, gather_s):
        gather_s = 0.0 if len(part) == _READ_BYTES else GATHER_S  # a full pipe holds its writer up
        *ends, rest = part.split(b"\n")
        for end in ends:
            yield _text(line + end)
            line = b""
        if len(line) <= LINE_MAX_BYTES:
            line += rest
    if line:
        yield _text(line)


async def _read(pipe: int, gather_s: float) -> bytes:
    """Wait for something to read, and for what follows it soon. Returns b"" at the end."""
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(pipe, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(pipe)
    await asyncio.sleep(gather_s)
    return os.read(pipe, _READ_BYTES)


def _text(line: bytes) -> str:
    is_cut = len(line) > LINE_MAX_BYTES
    text = line[:LINE_MAX_BYTES].decode(errors="replace").rstrip()
    return f"{text} (cut)" if is_cut else text

"""Reads the lines of a process's log, of any length, with bounded memory."""

import asyncio
from collections.abc import AsyncGenerator

LINE_MAX_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024


async def read_lines(stream: asyncio.StreamReader) -> AsyncGenerator[str]:
    """Yield the lines without their ends. What is behind LINE_MAX_BYTES of a line is left out."""
    line = b""
    while part := await stream.read(_READ_BYTES):
        *ends, rest = part.split(b"\n")
        for end in ends:
            yield _text(line + end)
            line = b""
        if len(line) <= LINE_MAX_BYTES:
            line += rest
    if line:
        yield _text(line)


def _text(line: bytes) -> str:
    is_cut = len(line) > LINE_MAX_BYTES
    text = line[:LINE_MAX_BYTES].decode(errors="replace").rstrip()
    return f"{text} (cut)" if is_cut else text

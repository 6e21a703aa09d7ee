"""Checks images in a small pool of decoder processes, which start when they are first needed."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import app
from app.images.check import ImageInfo
from app.images.errors import ImageRejected
from app.images.mask import MaskReading
from app.logs import log
from app.turns import Turns

PROCESSES = 2  # while others wait, a key has one of them
WAIT_S = 60.0  # for a turn
RESPONSE_S = 60.0  # of wall time; the CPU time has a limit of its own
START_S = 60.0
_PASSED_NAMES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
TOO_COSTLY = "the image takes too long to decode; open it and save it again, or scale it down"
DIED = "the image could not be decoded; open it and save it again as PNG or JPEG"


class DecoderUnavailable(Exception):
    """No image can be decoded now; try again shortly."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Decoders:
    """Checks image files in other processes. Use it on one event loop."""

    def __init__(self, response_s: float = RESPONSE_S) -> None:
        self._turns = Turns(PROCESSES, PROCESSES, WAIT_S)
        self._large = Turns(1, 1, WAIT_S)
        self._idle: list[_Decoder] = []
        self._response_s = response_s

    async def check(
        self, path: Path, owner: str, *, is_uri: bool = False, mask: MaskReading | None = None
    ) -> ImageInfo:
        """Check an image file. A data URI, as a JSON string, is replaced by its content at `content_path`.

        With `mask`, the file is a mask, which is written as a grey PNG to `mask_path`.

        Raises ImageRejected, NoTurn or DecoderUnavailable.
        """
        request: dict[str, Any] = {
            "path": str(path),
            "is_uri": is_uri,
            "may_be_large": False,
            "mask": None if mask is None else asdict(mask),
        }
        async with self._turns.turn(owner):
            response = await self._request(request)
        if "is_large" in response:
            request["may_be_large"] = True
            async with self._large.turn(owner), self._turns.turn(owner):
                response = await self._request(request)
        return ImageInfo(**response)

    async def close(self) -> None:
        """End the processes."""
        while self._idle:
            await self._idle.pop().end()

    async def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request to an idle process, or to a new one. Raises ImageRejected or DecoderUnavailable."""
        while True:
            is_new = not self._idle
            decoder = self._idle.pop() if self._idle else await _Decoder.start()
            try:
                response = await decoder.request(request, self._response_s)
            except TimeoutError:
                log.warning("decoder_killed", reason="timeout")
                raise ImageRejected(TOO_COSTLY) from None
            except EOFError:
                log.warning("decoder_died", code=decoder.code)
                if decoder.code == -signal.SIGXCPU:
                    raise ImageRejected(TOO_COSTLY) from None
                if is_new:
                    raise ImageRejected(DIED) from None
                continue  # it may have died before; a new one decides
            self._idle.append(decoder)
            if "problem" in response:
                raise ImageRejected(response["problem"])
            return response


class _Decoder:
    """One decoder process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Self:
        """Start a process and wait until it is ready. Raises DecoderUnavailable."""
        environment = {name: os.environ[name] for name in _PASSED_NAMES if name in os.environ}
        environment["PYTHONPATH"] = str(Path(app.__file__).parent.parent)
        environment["MALLOC_ARENA_MAX"] = "1"
        command = (sys.executable, "-P", "-m", "app.images.decoder")
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env=environment
            )
            decoder = cls(process)
            await decoder._read(START_S)
        except (OSError, EOFError) as exc:  # OSError: a TimeoutError, too
            log.error("decoder_not_started", error=str(exc))
            raise DecoderUnavailable from exc
        return decoder

    @property
    def code(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._process.returncode

    async def request(self, request: dict[str, Any], within_s: float) -> dict[str, Any]:
        """Send a request and return the response. On any other end of the call the process is killed.

        Raises TimeoutError, or EOFError where the process died.
        """
        assert self._process.stdin is not None  # noqa: S101 -- for mypy
        with suppress(
            OSError, RuntimeError
        ):  # it died, which the reading notices; RuntimeError: uvloop's
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return await self._read(within_s)

    async def end(self) -> None:
        """Kill the process."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 -- its pipes

    async def _read(self, within_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 -- for mypy
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
            response: dict[str, Any] = json.loads(_whole(line))
        except BaseException:
            await asyncio.shield(self.end())
            raise
        return response


def _whole(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise EOFError("the decoder process died")
    return line

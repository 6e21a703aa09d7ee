"""A small HTTP/1.1 client over plain sockets, cheap enough to run on the machine that it measures."""

import asyncio
import json
import time
from typing import Any

RUNNING = ("created", "processing")  # statuses
LONGEST_S = 1800.0


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a port on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, method: str, path: str, key: str, body: Any = None) -> None:
        """Send a request."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        self._writer.write(head.encode() + payload)

    async def receive(self) -> Any:
        """Read a JSON response. Raises RuntimeError unless the status is 200."""
        return json.loads(await self._body())

    async def _body(self) -> bytes:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = await self._reader.readexactly(length)
        if " 200 " not in head.split("\r\n")[0] + " ":
            raise RuntimeError(f"{head.splitlines()[0]}: {body[:300]!r}")
        return body

    async def ask(self, method: str, path: str, key: str, body: Any = None) -> Any:
        """Send a request and read its response."""
        self.send(method, path, key, body)
        return await self.receive()

    async def wait_for_success(self, prediction_id: str, key: str) -> None:
        """Long-poll until a prediction ends. Raises RuntimeError if it fails or takes longer than LONGEST_S."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            # one long poll may end while the engine still loads
            shown = await self.ask("GET", f"/v1/prediction/{prediction_id}?wait=60", key)
            if shown["status"] == "success":
                return
            if shown["status"] not in RUNNING:
                raise RuntimeError(str(shown))
        raise RuntimeError(f"{prediction_id} did not end within {LONGEST_S:.0f} s")

    async def download(self, url: str) -> bytes:
        """Fetch a file of this server. Raises RuntimeError unless the status is 200."""
        self.send("GET", "/" + url.split("/", 3)[3], "")
        return await self._body()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

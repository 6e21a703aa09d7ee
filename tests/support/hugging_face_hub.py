"""A local Hugging Face hub with one repository. It serves the requests that a snapshot download makes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/Tiny-klein"


class Hub:
    """The folder to serve, and the requests received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requested: list[str] = []
        self.ranges: list[str] = []
        """The ranges that were requested."""
        self.cut_at: dict[str, int] = {}
        """Paths of which only so many bytes are sent. Later requests for them get a 503, until they are removed."""
        self.held_at: dict[str, int] = {}
        """Paths of which the bytes from here on wait for `released`."""
        self.ignores_ranges = False
        self.released = threading.Event()
        self.cut: set[str] = set()
        self.url = ""

    def entries(self) -> list[dict[str, object]]:
        return [
            {
                "type": "file",
                "path": file.relative_to(self.folder).as_posix(),
                "size": file.stat().st_size,
                "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
            }
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requested.append(path)
        content = self._find(path)
        file = path.rpartition(COMMIT + "/")[2]
        if content is None:
            self._send(404, b"", has_body=has_body)
        elif has_body and file in self.hub.cut & self.hub.cut_at.keys():
            self._send(503, b"", has_body=has_body)
        else:
            self._send_file(file, content, has_body=has_body)

    def _send_file(self, file: str, content: bytes, *, has_body: bool) -> None:
        etag = hashlib.sha1(content).hexdigest()
        start = 0
        if wanted := self.headers.get("Range"):
            self.hub.ranges.append(wanted)
        if self.hub.ignores_ranges:
            wanted = None
        if wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        body = content[start:]
        length = str(len(body))
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers = {"ETag": f'"{etag}"', "Content-Length": length}
        if wanted:
            headers["Content-Range"] = content_range
        self._send_headers(206 if wanted else 200, headers)
        if not has_body:
            return
        if (end := self.hub.held_at.get(file)) is not None:
            self.wfile.write(body[:end])
            self.wfile.flush()
            self.hub.released.wait(30)
            self.wfile.write(body[end:])
        elif (end := self.hub.cut_at.get(file)) is not None:
            self.hub.cut.add(file)
            self.wfile.write(body[:end])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _send(self, status: int, body: bytes, *, has_body: bool) -> None:
        self._send_headers(status, {"Content-Length": str(len(body))})
        if has_body:
            self.wfile.write(body)

    def _send_headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _find(self, path: str) -> bytes | None:
        if path == f"/api/models/{REPO}/revision/main":
            return json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode()
        if path == f"/api/models/{REPO}/tree/{COMMIT}":
            return json.dumps(self.hub.entries()).encode()
        file = self.hub.folder / path.removeprefix(f"/{REPO}/resolve/{COMMIT}/").lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving_hub(folder: Path) -> Iterator[Hub]:
    """Serve the folder as the only repository while the body runs."""
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.released.set()
            server.shutdown()
            thread.join()

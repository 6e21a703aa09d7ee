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
        self.withheld: set[str] = set()
        """Paths that get a 404."""
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


@contextmanager
def serving_hub(folder: Path) -> Iterator[Hub]:
    """Serve the folder as the only repository while the body runs."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(has_body=False)

        def do_GET(self) -> None:
            self._answer(has_body=True)

        def _answer(self, *, has_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requested.append(path)
            content = self._find(path)
            status = 200
            if content is None or path.rpartition(COMMIT + "/")[2] in hub.withheld:
                content, status = b"", 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.end_headers()
            if has_body:
                self.wfile.write(content)

        def _find(self, path: str) -> bytes | None:
            if path == f"/api/models/{REPO}/revision/main":
                return json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode()
            if path == f"/api/models/{REPO}/tree/{COMMIT}":
                return json.dumps(hub.entries()).encode()
            file = hub.folder / path.removeprefix(f"/{REPO}/resolve/{COMMIT}/").lstrip("/")
            return file.read_bytes() if file.is_file() else None

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

"""A Hugging Face hub of one repository on this machine: the requests that a snapshot takes."""

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
    """What is served, and what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.withheld: set[str] = set()
        """Paths that are answered 404."""
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
            hub.asked.append(path)
            found = self._find(path)
            status = 200
            if found is None or path.rpartition(COMMIT + "/")[2] in hub.withheld:
                found, status = b"", 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(found).hexdigest()}"')
            self.end_headers()
            if has_body:
                self.wfile.write(found)

        def _find(self, path: str) -> bytes | None:
            if path == f"/api/models/{REPO}/revision/main":
                return json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode()
            if path == f"/api/models/{REPO}/tree/{COMMIT}":
                return json.dumps(hub.entries()).encode()
            file = hub.folder / path.removeprefix(f"/{REPO}/resolve/{COMMIT}/").lstrip("/")
            return file.read_bytes() if file.is_file() else None

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

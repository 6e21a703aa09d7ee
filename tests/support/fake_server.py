"""An HTTP server that answers as a test wants, and `klein` as a process that calls it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support import processes

ID = "11111111-2222-3333-4444-555555555555"
ENDED = {
    "id": ID,
    "input": {"prompt": "a circle", "seed": 7},
    "status": "success",
    "metrics": {"predict_time": 1.5, "cost": 0.001},
}
PAGE: dict[str, Any] = {"executions": []}
KEYED = os.environ | {"KLEIN_API_KEY": "k"}


class FakeServer:
    """An HTTP server that answers each path with a function of the test."""

    def __init__(self) -> None:
        fake = self
        self.requests: list[str] = []
        self.keys: list[str | None] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                fake.requests.append(path)
                fake.keys.append(self.headers["X-API-Key"])
                fake.answers.get(path, not_found)(self)

            do_POST = do_GET  # noqa: N815 -- the name that http.server wants

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def answer_json(body: object) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps(body).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def answer_events(*events: tuple[str, object]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with events, and close the stream."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for name, data in events:
            handler.wfile.write(f": comment\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())

    return answer


@contextmanager
def serving() -> Iterator[FakeServer]:
    fake = FakeServer()
    thread = threading.Thread(target=fake.server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        fake.server.server_close()
        thread.join()


def klein(*arguments: str, stdout: int = subprocess.PIPE, **environ: str) -> processes.Completed:
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    base = os.environ | proxies | {"KLEIN_API_KEY": "k"}
    result = processes.run(
        [sys.executable, "-m", "app.cli", *arguments], env=base | environ, stdout=stdout
    )
    assert "Traceback" not in result.stderr
    return result

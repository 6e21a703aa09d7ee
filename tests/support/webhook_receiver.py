"""A third party's web server: it answers as the test says and records the requests."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.ports import bind_to_own_port

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Call:
    """One received request."""

    path: str
    headers: dict[str, str]
    body: bytes
    is_answered_well: bool = False


@dataclass
class Receiver:
    """The received requests, and the answers to give. The last answer repeats."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def status(code: int, body: bytes = b"thanks", **headers: str) -> Answer:
    """Answer with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection with a reset."""
    linger = b"\1\0\0\0\0\0\0\0"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


@contextmanager
def running_receiver(
    *answers: Answer, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Receiver]:
    receiver = Receiver(answers=list(answers) or [status(200)])

    class Handler(BaseHTTPRequestHandler):
        answered = 0
        released = receiver.released

        def send_response(self, code: int, message: str | None = None) -> None:
            self.answered = code
            super().send_response(code, message)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            call = Call(self.path, dict(self.headers), self.rfile.read(length))
            receiver.calls.append(call)
            try:
                receiver.next_answer()(self)
                call.is_answered_well = self.answered == HTTPStatus.OK
            except OSError:  # the other side has closed the connection
                self.close_connection = True

        do_GET = do_POST  # noqa: N815 -- the name that http.server calls

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                return

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    def listen(port: int) -> Server:
        return Server((host, port), Handler)

    with listen(port) if port else bind_to_own_port(listen) as server:
        receiver.url = f"http://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join()

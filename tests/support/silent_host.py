"""A receiver that accepts connections and never answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class SilentHost:
    """Holds every connection that it gets."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return

    def count_open(self) -> int:
        """Count the connections that the other side has not closed."""
        return sum(_is_open(connection) for connection in self.connections)

    def close(self) -> None:
        """Close the listener and every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()


def _is_open(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def silent_hosts(count: int) -> Iterator[list[SilentHost]]:
    """Run this many silent hosts."""
    with ExitStack() as stack:
        hosts = []
        for _ in range(count):
            host = SilentHost()
            stack.callback(host.close)
            hosts.append(host)
        yield hosts

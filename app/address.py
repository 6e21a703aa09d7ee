"""The address that the API server listens on: its URL on this machine, who reaches it, and whether it is free."""

import ipaddress
import os
import socket

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not listened on


def url_of(host: str, port: int | str) -> str:
    """Return the URL under which this machine reaches a server that listens on the address."""
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free(host: str, port: int) -> None:
    """Raise ValueError if no server can listen on the address. The message says why, and after `; ` what to do."""
    try:
        # of a name with both kinds the IPv4 address, as a host without IPv6 may list that as well
        family, *_, address = min(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        socket.create_server(address, family=family).close()
    except OSError as exc:
        is_name_error = isinstance(exc, socket.gaierror)
        reason = exc.strerror if is_name_error else os.strerror(exc.errno or 0)
        raise ValueError(
            f"cannot listen on {host}:{port} ({reason}); "
            "set KLEIN_HOST and KLEIN_PORT to a free address"
        ) from None

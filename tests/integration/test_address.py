"""Whether a server can listen on an address."""

import socket

import pytest

from app.address import require_free

FAMILIES = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}


@pytest.fixture(params=FAMILIES)
def host(request: pytest.FixtureRequest) -> str:
    host: str = request.param
    try:
        socket.create_server((host, 0), family=FAMILIES[host]).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    return host


def test_taken_address_is_reported(host: str) -> None:
    """An address of either IP version is free until a server listens on it. The error names it and the settings."""
    with socket.create_server((host, 0), family=FAMILIES[host]) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=f"cannot listen on {host}:{port} .*already in use.*KLEIN_PORT"
        ):
            require_free(host, port)

    require_free(host, port)


def test_unknown_host_is_reported() -> None:
    """A name that does not resolve is reported like an address that is taken."""
    with pytest.raises(
        ValueError, match=r"cannot listen on no\.such\.invalid:80 \(.+\); set KLEIN_HOST"
    ):
        require_free("no.such.invalid", 80)

"""The Caddyfile of docker-compose.yml, run by Caddy itself in front of a small server."""

import http.server
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import free_port
from tests.support import processes
from tests.support.fakes import eventually

CADDYFILE = Path(__file__).parents[2] / "deploy" / "caddy" / "Caddyfile"

pytestmark = pytest.mark.skipif(
    shutil.which("caddy") is None, reason="caddy is not installed: make tools"
)


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers a GET with the host and protocol that the client used."""

    def do_GET(self) -> None:
        body = f"{self.headers['X-Forwarded-Proto']} {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a server in the place of the API."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_caddy_serves_https_for_its_domain(upstream: int, tmp_path: Path) -> None:
    """Requests by HTTPS reach the API with their host and protocol, with a certificate of Caddy's own for localhost."""
    port = free_port()
    config = tmp_path / "Caddyfile"
    # ports that need no root, and a root certificate that stays out of the machine's store
    options = f"admin off\n\thttp_port {free_port()}\n\thttps_port {port}\n\tskip_install_trust"
    config.write_text(CADDYFILE.read_text().replace("admin off", options))
    environ = os.environ | {
        "KLEIN_DOMAIN": "localhost",
        "KLEIN_UPSTREAM": f"127.0.0.1:{upstream}",
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }
    root = tmp_path / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    with processes.started(command, env=environ):
        eventually(root.exists)
        with httpx.Client(
            verify=ssl.create_default_context(cafile=str(root)), trust_env=False
        ) as client:

            def ask() -> str | None:
                try:
                    return client.get(f"https://localhost:{port}/").text
                except httpx.TransportError:
                    return None

            eventually(lambda: ask() is not None)
            answer = ask()

    assert answer == f"https localhost:{port}"

"""Serves the metrics of a process on a port of its own."""

import socket

import httpx
import pytest

from app.metrics import ENGINE_READY, serve_metrics


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_port_in_use_is_reported(taken_port):
    """A worker whose metrics port is in use gets an error with the port and the setting."""
    with pytest.raises(ValueError, match=rf":{taken_port} .*KLEIN_METRICS_PORT"):
        serve_metrics("127.0.0.1", taken_port)


def test_readyz_follows_engine(free_port):
    """`/readyz`, on the port of the metrics, returns 200 only while the engine is ready."""
    serve_metrics("127.0.0.1", free_port)
    url = f"http://127.0.0.1:{free_port}"
    statuses = []
    for is_ready in (False, True, False):
        ENGINE_READY.set(is_ready)
        statuses.append(httpx.get(f"{url}/readyz", trust_env=False).status_code)

    assert statuses == [503, 200, 503]
    assert "klein_engine_ready 0.0" in httpx.get(f"{url}/metrics", trust_env=False).text

"""fal's client of PyPI, which calls `https:` only, and the limits of fal's proxy URL."""

from functools import cache
from typing import Any

import pytest

from tests.clients.cells import answer_cells, error_cells
from tests.clients.operations import ERRORS_BY_TLS, FAL_BY_TLS
from tests.clients.python_client import run_operations
from tests.support.api_client import LONG, create, until
from tests.support.klein_server import Klein
from tests.support.tls_proxy import tls_front, write_certificate


@pytest.fixture(scope="module")
def by_tls(klein: Klein, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the operations of a module against a TLS proxy of the server, once."""

    @cache
    def run(module: str) -> dict[str, Any]:
        certificate = write_certificate(tmp_path_factory.mktemp("tls"))
        with tls_front(certificate, int(klein.url.rpartition(":")[2])) as port:
            url = f"https://127.0.0.1:{port}"
            return run_operations(url, klein.key, module, SSL_CERT_FILE=str(certificate[0]))

    return run


@answer_cells(FAL_BY_TLS)
def test_operation_by_tls(by_tls: Any, client: str, operation: str, answer: object) -> None:
    """Each operation of the client that calls `https:` only gives what fal gives."""
    assert by_tls(client)[operation] == {"answer": answer}


@error_cells(ERRORS_BY_TLS)
def test_error_by_tls(by_tls: Any, client: str, operation: str, text: str) -> None:
    """Its errors say what happened."""
    assert text in by_tls(client)[operation]["error"]


def test_proxy_leads_nowhere_else(klein: Klein) -> None:
    """Only URLs of fal are served through the proxy, and only here: the key must be one of this server."""
    with klein.client() as client:
        client.headers = {"Authorization": f"Key {klein.key}"}
        for url in (
            "",
            "https://example.com/",
            "file:///etc/passwd",
            "http://fal.run@example.com/",
        ):
            refused = client.post("/fal", json={}, headers={"x-fal-target-url": url})
            assert refused.json()["detail"][0]["loc"] == ["body", "x-fal-target-url"]
        client.headers = {"Authorization": "Key wrong"}
        target = {"x-fal-target-url": "https://fal.run/fal-ai/flux-2/klein/4b"}
        assert client.post("/fal", json={"prompt": "x"}, headers=target).status_code == 401


def test_request_that_does_not_start_in_time(klein: Klein) -> None:
    """`startTimeout` of fal's clients ends a request that still waits, with the answer that they do not repeat."""
    app = "fal-ai/flux-2/klein/4b"
    limit = {"x-fal-request-timeout": "1"}
    with klein.client() as client:
        busy = create(client, **LONG)
        late = client.post(f"/fal/run/{app}", json={"prompt": "x"}, headers=limit)
        queued = client.post(f"/fal/queue/{app}", json={"prompt": "x"}, headers=limit).json()
        until(lambda: client.get(queued["status_url"]).json()["status"] == "COMPLETED")
        status = client.get(queued["status_url"]).json()
        response = client.get(f"{queued['response_url']}/response")
        client.post(f"/v1/prediction/{busy}/cancel")
        refused = client.post(f"/fal/run/{app}", json={}, headers={"x-fal-request-timeout": "soon"})

    assert late.status_code == response.status_code == 504
    assert late.headers["x-fal-request-timeout-type"] == "user"
    assert status["error_type"] == "queue_timeout"
    assert status["error"]
    assert "x-fal-request-timeout: must be a number of seconds" in refused.text

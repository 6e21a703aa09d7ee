"""fal's client of npm, with this server as its proxy, and that of PyPI, which calls it by TLS."""

from functools import cache
from typing import Any

import pytest

from tests.clients.cells import answer_cells, error_cells
from tests.clients.node_client import run_all
from tests.clients.python_client import run_operations
from tests.support.klein_server import Klein
from tests.support.tls_proxy import tls_front, write_certificate

PNG = ["png"]
ANSWERS: dict[str, dict[str, object]] = {
    "fal": {
        "run": PNG,
        "subscribe": [PNG, "COMPLETED", 36],
        "subscribe by stream": [PNG, "COMPLETED"],
        "edit": PNG,
        "edit an uploaded file": PNG,
    }
}
BY_TLS: dict[str, dict[str, object]] = {
    "fal_python": {
        "run": ["PNG"],
        "submit, status, result": [["PNG"], "Completed"],
        "subscribe": [["PNG"], "Completed"],
        "iter_events": "Completed",
        "edit": ["PNG"],
    }
}
ERRORS_BY_TLS = {"fal_python": {"cancel": "was cancelled", "an error": "num_images"}}
ERRORS = {"fal": {"cancel": "400", "an error": "422"}}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation gives what fal gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """A wrong input and the result of a cancelled request are errors of the caller."""
    assert text in run_all(klein, client)[operation]["error"]


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


@answer_cells(BY_TLS)
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

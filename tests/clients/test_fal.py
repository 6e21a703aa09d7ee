"""fal's client of npm, with this server as its proxy."""

from tests.clients.cells import answer_cells, error_cells
from tests.clients.node_client import run_all
from tests.support.klein_server import Klein

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
ERRORS = {"fal": {"cancel": "400", "an error": "422"}}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation gives what fal gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """A wrong input and the result of a cancelled request are errors of the caller."""
    assert text in run_all(klein, client)[operation]["error"]


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

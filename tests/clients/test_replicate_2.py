"""Replicate's client of PyPI, version 2, with this server as its base URL."""

from tests.clients.cells import answer_cells, error_cells
from tests.clients.python_client import run_all
from tests.support.klein_server import Klein

ANSWERS: dict[str, dict[str, object]] = {
    "replicate_2": {
        "run": ["PNG"],
        "edit": ["PNG"],
        "create, cancel": "canceled",
        "list": True,
        "models": ["flux-2-klein-4b"],
        "search": ["flux-2-klein-4b"],
        "versions": 1,
        "readme": True,
        "files": True,
        "account": "user",
        "collections, deployments, trainings, hardware": [0, 0, 0, []],
        "webhook secret": "whsec_",
    }
}
ERRORS = {"replicate_2": {"an error": "num_outputs"}}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation gives what Replicate gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """The client shows an error that names the field."""
    assert text in run_all(klein, client)[operation]["error"]

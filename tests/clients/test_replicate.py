"""Replicate's client of npm and the AI SDK's provider, with this server as their base URL."""

from tests.clients.cells import answer_cells, error_cells
from tests.clients.node_client import run_all
from tests.support.klein_server import Klein

MODEL = "flux-2-klein-4b"
ANSWERS = {
    "replicate": {
        "run": ["png"],
        "run a version": ["png"],
        "edit an open file": ["png"],
        "create, wait": ["succeeded", "png"],
        "create in a deployment": True,
        "cancel": "canceled",
        "list": True,
        "models": [MODEL],
        "search": [MODEL],
        "files": [{"order": 17}, True, True],
        "account, hardware, collections": ["user", [], []],
        "deployments, trainings": [[], []],
        "webhook secret": True,
    },
    "ai-sdk-replicate": {
        "generate": [["png", 64]],
        "two images": 2,
        "edit two images": ["png"],
    },
}
ERRORS = {"replicate": {"an error": "num_outputs"}}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation of each client gives what the vendor's service gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """A client shows an error that names the field."""
    assert text in run_all(klein, client)[operation]["error"]

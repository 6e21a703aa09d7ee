"""Replicate's client of npm, its MCP server and the AI SDK's provider, with this server as their base URL."""

from tests.clients.cells import answer_cells, error_cells
from tests.clients.node_client import run_all
from tests.support.klein_server import Klein

MODEL = "flux-2-klein-4b"
ANSWERS: dict[str, dict[str, object]] = {
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
    "replicate-mcp": {
        "create_models_predictions": "succeeded",
        "create_deployments_predictions": f"black-forest-labs/{MODEL}",
        "get_predictions, cancel_predictions": [True, "canceled"],
        "list_predictions": True,
        "list_models, get_models_readme": [[MODEL], True],
        "search_models, get_models, list_models_versions, list_collections": [True] * 4,
        "list_deployments, list_trainings": [0, 0],
        "list_files": True,
        "get_account, list_hardware": ["user", []],
        "get_default_webhooks_secret": "whsec_",
    },
    "ai-sdk-replicate": {
        "generate": [["png", 64]],
        "two images": 2,
        "edit two images": ["png"],
    },
}
ERRORS = {client: {"an error": "num_outputs"} for client in ("replicate", "replicate-mcp")}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation of each client gives what the vendor's service gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """A client shows an error that names the field."""
    assert text in run_all(klein, client)[operation]["error"]

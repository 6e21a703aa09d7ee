"""Every operation of the vendors' clients, with this server as their base URL."""

from typing import Any

from tests.clients import node_client, python_client
from tests.clients.cells import answer_cells, error_cells
from tests.clients.operations import ANSWERS, ERRORS
from tests.support.klein_server import Klein


def run_all(klein: Klein, client: str) -> dict[str, Any]:
    """Run the script of a client, which is in the folder of its language."""
    if (python_client.FOLDER / f"{client}.py").exists():
        return python_client.run_all(klein, client)
    return node_client.run_all(klein, client)


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation of each client gives what the vendor's service gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """Each client shows why a request was refused."""
    assert text in run_all(klein, client)[operation]["error"]


def test_error_of_agno(klein: Klein) -> None:
    """agno returns an error as text for the model that called the tool."""
    shown = run_all(klein, "agno_tools")["an error"]["answer"]
    assert "Incorrect API key" in shown

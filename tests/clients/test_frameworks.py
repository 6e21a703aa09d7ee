"""Image generators of frameworks of PyPI, with this server as the base URL of their OpenAI client."""

from tests.clients.cells import answer_cells, error_cells
from tests.clients.python_client import run_all
from tests.support.klein_server import Klein

PNG = ["PNG"]
ANSWERS: dict[str, dict[str, object]] = {
    "litellm_images": {
        "image_generation": ["PNG", "PNG"],
        "image_generation with OpenAI's name": PNG,
        "image_generation of Azure": PNG,
        "aimage_generation": PNG,
        "image_edit": PNG,
        "image_edit of two images": PNG,
    },
    "haystack_images": {"generate": "PNG", "generate with klein's name": "PNG"},
    "langchain_images": {
        "generate": PNG,
        "two images": ["PNG", "PNG"],
        "generate with klein's name": PNG,
    },
    "agno_tools": {"create_image": PNG, "two images": ["PNG", "PNG"]},
}
UNKNOWN = "The model `nothing` does not exist here"
ERRORS = {
    client: {"an error": UNKNOWN}
    for client in ("litellm_images", "haystack_images", "langchain_images")
}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation gives the images that were asked for."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """The framework shows why a request was refused."""
    assert text in run_all(klein, client)[operation]["error"]


def test_error_of_agno(klein: Klein) -> None:
    """agno returns an error as text for the model that called the tool."""
    shown = run_all(klein, "agno_tools")["an error"]["answer"]
    assert "Incorrect API key" in shown

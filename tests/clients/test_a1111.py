"""`webuiapi`, a client of Stable Diffusion web UI, with this server as its base URL; and an interrupted request."""

import threading

import httpx

from tests.clients.cells import answer_cells, error_cells
from tests.clients.python_client import run_all
from tests.support.api_client import until
from tests.support.klein_server import Klein

ANSWERS: dict[str, dict[str, object]] = {
    "webui": {
        "txt2img": [[[64, 64], [64, 64]], [7, 8]],
        "img2img": [[64, 64]],
        "models, samplers, schedulers": [["flux-2-klein-4b"], ["Euler"], ["simple"]],
        "set and get the model": [None, "flux-2-klein-4b"],
        "progress, wait": [0.0, None],
        "interrupt, skip": [{}, {}],
        "loras, upscalers, scripts": [[], [], {"txt2img": [], "img2img": []}],
    }
}
ERRORS = {"webui": {"an error": "prompt: String should have at least 1 character"}}


@answer_cells(ANSWERS)
def test_operation(klein: Klein, client: str, operation: str, answer: object) -> None:
    """Each operation gives what the web UI gives."""
    assert run_all(klein, client)[operation] == {"answer": answer}


@error_cells(ERRORS)
def test_error(klein: Klein, client: str, operation: str, text: str) -> None:
    """The client shows an error that names the field."""
    assert text in run_all(klein, client)[operation]["error"]


def test_progress_and_interrupt(klein: Klein) -> None:
    """A running request shows its progress, and an interrupt ends it with an error that says so."""
    answers: list[httpx.Response] = []
    long = {"prompt": "x", "steps": 50, "batch_size": 4, "width": 1024, "height": 1024}

    def ask() -> None:
        with klein.client() as own:
            answers.append(own.post("/sdapi/v1/txt2img", json=long))

    caller = threading.Thread(target=ask)
    caller.start()
    with klein.client() as client:
        until(lambda: client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 1)
        client.post("/sdapi/v1/interrupt")
        caller.join()
        assert client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0

    assert (answers[0].status_code, answers[0].json()["errors"]) == (
        400,
        "the prediction was cancelled",
    )

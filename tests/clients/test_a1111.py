"""Progress and interruption of a request to the dialect of Stable Diffusion web UI."""

import threading

import httpx

from tests.support.api_client import until
from tests.support.klein_server import Klein


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

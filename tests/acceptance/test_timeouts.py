"""`X-Queue-Timeout` and `X-Run-Timeout`: a prediction past its timeout ends as an error of the class TIMEOUT."""

from typing import Any

import httpx
import pytest

from tests.support.api_client import LONG, get, order, run


def create(client: httpx.Client, headers: dict[str, str], **inputs: Any) -> str:
    answer = client.post("/v1/prediction", json=order(**inputs), headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictionID"])


@pytest.mark.usefixtures("busy")
def test_queue_timeout_ends_prediction(client: httpx.Client) -> None:
    """While the only worker is busy, a prediction ends at its queue timeout."""
    prediction = get(client, create(client, {"X-Queue-Timeout": "1.5"}), wait=20)

    assert prediction["status"] == "error"
    envelope = prediction["output"]
    assert envelope["error_code"] == "EXECUTION_TIMEOUT"
    assert envelope["classification"] == {"category": "TIMEOUT"}
    assert (envelope["error_step"], envelope["retryable"]) == ("queue", True)
    assert prediction["error"] == envelope["error_message"] == "no worker was free within 1.5 s"
    listed = client.get("/v1/executions?error_classification=execution_timeout").json()
    assert prediction["id"] in [line["id"] for line in listed["executions"]]


def test_run_timeout_ends_prediction(client: httpx.Client) -> None:
    """A prediction ends at its run timeout, and the worker continues with the next."""
    prediction = get(client, create(client, {"X-Run-Timeout": "1"}, **LONG), wait=30)

    assert prediction["status"] == "error"
    assert prediction["output"]["classification"] == {"category": "TIMEOUT"}
    assert prediction["output"]["error_step"] == "generate"
    assert run(client)["status"] == "success"

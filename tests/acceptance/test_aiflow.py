"""The vendor's own client, `@eachlabs/aiflow`, unchanged except for its base URL."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.api_client import LONG, TEXT, fetch, until
from tests.support.klein_server import Klein
from tests.support.node_packages import NODE, direct_environment, installed

FOLDER = Path(__file__).parent / "aiflow"

pytestmark = pytest.mark.timeout(180)  # the first run downloads the package


@pytest.fixture(scope="session")
def drive() -> Path:
    """The script, beside the installed client."""
    return installed(FOLDER) / "drive.mjs"


@pytest.fixture
def aiflow(klein: Klein, drive: Path) -> Callable[..., Any]:
    """Call the client with a method, its argument, and optionally another key."""

    def call(verb: str, argument: object, key: str = klein.key) -> Any:
        command = [NODE, str(drive), f"{klein.url}/v1", key, verb, json.dumps(argument)]
        result = processes.run(command, check=True, env=direct_environment())
        return json.loads(result.stdout.splitlines()[-1])

    return call


def order(**values: Any) -> dict[str, Any]:
    size = {"width": 64, "height": 64}
    inputs = {"prompt": "a red circle", "image_size": size}
    return {"model": TEXT, "version": "0.0.1", "input": inputs} | values


def test_create_and_get(aiflow: Callable[..., Any]) -> None:
    """The client creates a prediction and polls until its image is ready."""
    created = aiflow("create", order(webhook_url=""))["answer"]

    ended = until(
        lambda: next(
            (
                answer
                for answer in [aiflow("get", created["predictionID"])["answer"]]
                if answer["status"] == "success"
            ),
            None,
        )
    )
    assert created["status"] == "success"
    assert fetch(ended["output"]).startswith(b"\x89PNG")


def test_run(aiflow: Callable[..., Any]) -> None:
    """The client's run returns the image."""
    ended = aiflow("run", order())["answer"]

    assert (ended["status"], ended["error"]) == ("success", "")
    assert fetch(ended["output"]).startswith(b"\x89PNG")


def test_cancel(aiflow: Callable[..., Any]) -> None:
    """The client cancels with a JSON content type and no body, and gets the state."""
    created = aiflow("create", order(input={"prompt": "a"} | LONG))["answer"]

    cancelled = aiflow("cancel", created["predictionID"])["answer"]

    assert cancelled["status"] == "success"
    assert aiflow("get", created["predictionID"])["answer"]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("verb", "argument", "key", "expected"),
    [
        ("run", order(), "bad", (401, "Invalid or missing API key")),
        ("create", order(model="x"), None, (404, "Failed to fetch model: model not found")),
        ("create", order(input={"prompt": 5}), None, (400, "Invalid input for model")),
        ("get", "unknown", None, (404, "Prediction not found")),
    ],
)
def test_error_has_hosted_body(
    aiflow: Callable[..., Any],
    verb: str,
    argument: object,
    key: str | None,
    expected: tuple[int, str],
) -> None:
    """The client throws an error with the body of the contract."""
    failed = aiflow(verb, argument, key) if key else aiflow(verb, argument)

    body = json.loads(failed["error"].removeprefix("Request failed: "))
    assert (body["status"], body["error"]) == expected

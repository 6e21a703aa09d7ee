"""With a safety checker, unsafe images are withheld with a reason, and not stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_client import EDIT, TEXT, data_uri, image_file, order, run
from tests.support.klein_server import Klein, running_klein
from tests.support.tiny_safety_checker import make_checker
from worker.weights.locate import BUILT_IN

pytestmark = pytest.mark.slow

RED = "a white circle on a red background"
BLUE = "a white circle on a blue background"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Klein]:
    """A system with the built-in model and a checker that classifies mostly red images as unsafe."""
    checker = make_checker(tmp_path_factory.mktemp("checker") / "red")
    with running_klein(BUILT_IN, KLEIN_SAFETY_CHECKER=str(checker)) as running:
        yield running


@pytest.fixture
def guest(guarded: Klein) -> Iterator[httpx.Client]:
    with guarded.client() as client:
        yield client


def refused(client: httpx.Client, model: str = TEXT, **inputs: Any) -> Any:
    """Run a prediction that must not succeed, and return the record."""
    answer = client.post("/v1/prediction/run", json=order(model, seed=1, **inputs)).json()
    assert answer["status"] == "failed", answer
    return client.get(f"/v1/prediction/{answer['predictionID']}").json()


def images(klein: Klein, prediction_id: str) -> list[Path]:
    """List the stored files of a prediction, except its input images."""
    folder = klein.folder / "outputs" / prediction_id
    return [path for path in folder.rglob("*") if path.is_file() and "in-" not in path.name]


@pytest.mark.parametrize("is_requested", [True, False])
def test_unsafe_image_is_withheld(guest: httpx.Client, guarded: Klein, is_requested: bool) -> None:
    """An unsafe image ends as a failure with a reason, whatever the caller set."""
    prediction = refused(guest, prompt=RED, enable_safety_checker=is_requested)

    assert prediction["status"] == "error"
    assert prediction["output"]["error_code"] == "PROVIDER_REJECTED"
    assert prediction["output"]["retryable"] is False
    assert "safety checker" in prediction["error"]
    assert images(guarded, prediction["id"]) == []


def test_unsafe_input_is_withheld(guest: httpx.Client, guarded: Klein) -> None:
    """An unsafe input image is not used."""
    image = data_uri(image_file(128, 128, colour="red"))
    prediction = refused(guest, EDIT, prompt="make it blue", image_urls=[image])

    assert prediction["output"]["error_code"] == "PROVIDER_REJECTED"
    assert "input image" in prediction["error"]
    assert images(guarded, prediction["id"]) == []


def test_safe_prediction_succeeds(guest: httpx.Client, guarded: Klein) -> None:
    """Safe prompts and input images give images, also after refusals."""
    refused(guest, prompt=RED)
    generated = run(guest, prompt=BLUE, seed=1)
    edited = run(
        guest, EDIT, prompt="make the circle green", image_urls=[generated["output"]], seed=1
    )

    assert len(images(guarded, generated["predictionID"])) == 1
    assert len(images(guarded, edited["predictionID"])) == 1

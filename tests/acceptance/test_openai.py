"""OpenAI's own client with this server as its base URL."""

import base64
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from PIL import Image

from tests.support.api_client import LONG, fetch, image_file, until
from tests.support.klein_server import Klein

MODEL = "flux-2-klein-4b"
LONG_STEPS = {"num_inference_steps": LONG["num_inference_steps"]}
SMALL: dict[str, Any] = {"model": MODEL, "prompt": "a red circle", "size": "64x64"}


@pytest.fixture
def vendor_client(klein: Klein) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=klein.key, base_url=f"{klein.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
async def asynchronous(klein: Klein) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=klein.key, base_url=f"{klein.url}/v1", max_retries=0
    ) as client:
        yield client


def opened(encoded: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded or "")))


def test_generate(vendor_client) -> None:
    """Images are returned as files and as URLs if no format is requested, in the requested size."""
    answer = vendor_client.images.generate(**SMALL, n=2, quality="high", user="me")

    assert [opened(image.b64_json).size for image in answer.data] == [(64, 64)] * 2
    assert [opened(image.b64_json).format for image in answer.data] == ["PNG"] * 2
    for image in answer.data:
        assert fetch(image.url) == base64.b64decode(image.b64_json)
    assert (answer.size, answer.output_format) == ("64x64", "png")


@pytest.mark.parametrize(("wanted", "other"), [("url", "b64_json"), ("b64_json", "url")])
def test_response_formats(vendor_client, wanted, other) -> None:
    """A requested response format is returned alone."""
    [image] = vendor_client.images.generate(**SMALL, response_format=wanted).data

    assert getattr(image, wanted)
    assert getattr(image, other) is None


def test_file_formats(vendor_client) -> None:
    """Format and compression are as requested."""
    images = [
        vendor_client.images.generate(
            **SMALL, output_format="jpeg", output_compression=c, extra_body={"seed": 7}
        ).data[0]
        for c in (0, 95)
    ]

    assert opened(images[0].b64_json).format == "JPEG"
    assert len(images[0].b64_json) < len(images[1].b64_json)


async def test_generate_asynchronously(asynchronous) -> None:
    """The async client gets the same image for the same seed, and `auto` is 1024x1024."""
    parameters = SMALL | {"extra_body": {"seed": 7}}
    one = await asynchronous.images.generate(**parameters)
    other = await asynchronous.images.generate(**parameters)
    assert one.data[0].b64_json == other.data[0].b64_json

    large = await asynchronous.images.generate(
        model=MODEL, prompt="a red circle", size="auto", extra_body={"num_inference_steps": 1}
    )
    assert opened(large.data[0].b64_json).size == (1024, 1024)


@pytest.mark.parametrize("count", [1, 3])
def test_edit(vendor_client, count) -> None:
    """One image or several are edited, at the size of the first."""
    files = [("one.png", image_file(128, 64)), *[("more.png", image_file())] * 2][:count]
    answer = vendor_client.images.edit(
        model=MODEL,
        prompt="make it red",
        image=files[0] if count == 1 else files,
        extra_body={"seed": 7, "num_inference_steps": 1},
    )

    assert opened(answer.data[0].b64_json).size == (128, 64)


async def test_edit_asynchronously(asynchronous) -> None:
    """The async client edits too, with an explicit size and without a model."""
    answer = await asynchronous.images.edit(
        prompt="make it red", image=image_file(), size="96x64", n=2, response_format="url"
    )

    assert [image.url is not None for image in answer.data] == [True, True]
    assert answer.size == "96x64"


def test_models(vendor_client, client: httpx.Client) -> None:
    """OpenAI's clients get OpenAI's model list, all others the hosted one."""
    names = [model.id for model in vendor_client.models.list()]
    assert names[:2] == [MODEL, "gpt-image-1"]
    assert vendor_client.models.retrieve(MODEL).owned_by == "black-forest-labs"
    with pytest.raises(openai.NotFoundError) as caught:
        vendor_client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"
    assert {"slug", "title"} <= set(client.get("/v1/models").json()[0])


@pytest.mark.parametrize(
    ("parameters", "param", "message"),
    [
        ({"size": "large"}, "size", "WIDTHxHEIGHT"),
        ({"n": 11}, "n", "at most 10"),
    ],
)
def test_invalid_input(vendor_client, parameters, param, message) -> None:
    """The error for an invalid field has OpenAI's name for it, and says what to do."""
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        vendor_client.images.generate(**SMALL | parameters)

    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


def test_invalid_edits(vendor_client) -> None:
    """Masks, too many images and files that are not images are refused by name."""
    parameters: dict[str, Any] = {"model": MODEL, "prompt": "x"}
    for image, param in ((b"nonsense", "image"), ([image_file()] * 5, "image")):
        with pytest.raises(openai.BadRequestError) as caught:
            vendor_client.images.edit(image=image, **parameters)
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as caught:
        vendor_client.images.edit(image=image_file(), mask=image_file(), **parameters)
    assert caught.value.param == "mask"


def test_unauthorized_and_unknown_model(klein: Klein, vendor_client) -> None:
    """A wrong key and an unknown model give errors in OpenAI's form."""
    with (
        openai.OpenAI(api_key="wrong", base_url=f"{klein.url}/v1") as wrong_key_client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        wrong_key_client.images.generate(**SMALL)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        vendor_client.images.generate(**SMALL | {"model": "gpt-4o"})
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")


def test_disconnect_cancels_prediction(klein: Klein) -> None:
    """A client that disconnects cancels its prediction, because nobody else knows its id."""
    parameters = {"prompt": "leaving", "size": "1024x1024", "n": 4, "num_inference_steps": 50}
    address = urlsplit(klein.url)
    with klein.client(klein.other_key) as client:
        before = client.get("/v1/executions").json()["total_count"]

        def newest() -> Any:
            listed = client.get("/v1/executions?limit=1").json()
            return listed["total_count"] > before and listed["executions"][0]

        with closing(HTTPConnection(address.netloc)) as leaving:
            headers = {"Authorization": f"Bearer {klein.other_key}"}
            leaving.request("POST", "/v1/images/generations", json.dumps(parameters), headers)
            until(newest)

        assert until(lambda: newest()["status"] == "cancelled")


def test_cancelled_prediction(klein: Klein, vendor_client, client) -> None:
    """A client that waits for a prediction that is cancelled gets an error that says not to retry."""
    errors: list[openai.APIStatusError] = []

    def ask() -> None:
        try:
            vendor_client.images.generate(
                **SMALL | {"size": "1024x1024", "n": 4, "extra_body": LONG_STEPS}
            )
        except openai.APIStatusError as exc:
            errors.append(exc)

    def executions() -> list[str]:
        return [e["id"] for e in client.get("/v1/executions").json()["executions"]]

    before = executions()
    caller = threading.Thread(target=ask)
    caller.start()
    newest = until(lambda: next((i for i in executions() if i not in before), None))
    client.post(f"/v1/prediction/{newest}/cancel")
    caller.join()

    assert errors[0].code == "cancelled"
    assert errors[0].response.headers["x-should-retry"] == "false"

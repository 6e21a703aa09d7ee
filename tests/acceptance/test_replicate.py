"""Replicate's own client with this server as its base URL."""

import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.webhook import InvalidSignatureError, Webhooks

from app.dialects.replicate.models import VERSION
from tests.support.api_client import LONG, create, data_uri, fetch, image_file, until
from tests.support.klein_server import Klein
from tests.support.webhook_receiver import running_receiver

MODEL = "black-forest-labs/flux-2-klein-4b"
SMALL = {"prompt": "a red circle", "output_megapixels": "0.25", "seed": 7}


@contextmanager
def pointed_at(klein: Klein, key: str = "") -> Iterator[Client]:
    """A Replicate client for this server. Closes its connections, which the client itself cannot do."""
    client = Client(api_token=key or klein.key, base_url=klein.url)
    client.poll_interval = 0.05
    with client._client:  # noqa: SLF001 -- the client has no way to close
        yield client


@pytest.fixture
def vendor_client(klein: Klein) -> Iterator[Client]:
    with pointed_at(klein) as client:
        yield client


@pytest.fixture
async def asynchronous(vendor_client) -> AsyncIterator[Client]:
    async with vendor_client._async_client:  # noqa: SLF001 -- as above
        yield vendor_client


def size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def test_run_returns_files(vendor_client) -> None:
    """`run` waits and returns readable files, in the requested ratio, size and format."""
    [file] = vendor_client.run(
        MODEL, input=SMALL | {"aspect_ratio": "16:9", "output_format": "png"}
    )

    assert file.read().startswith(b"\x89PNG")
    assert size(file.read()) == (672, 384)


async def test_run_asynchronously(asynchronous) -> None:
    """The async client gets the same image as the sync one."""
    [file] = await asynchronous.async_run(MODEL, input=SMALL)
    [again] = asynchronous.run(MODEL, input=SMALL)

    assert await file.aread() == again.read()


def test_create_then_wait(vendor_client, klein: Klein) -> None:
    """A prediction is created at once, then waited for, and its output is a URL that needs no key."""
    prediction = vendor_client.predictions.create(model=MODEL, input=SMALL)
    assert prediction.status in {"starting", "processing"}
    prediction.wait()

    assert prediction.status == "succeeded"
    assert prediction.model == MODEL
    assert prediction.input["seed"] == 7
    assert prediction.input["aspect_ratio"] == "1:1"
    assert prediction.progress.percentage == 1
    assert prediction.metrics["predict_time"] > 0
    assert prediction.output[0].startswith(klein.url)
    assert size(fetch(prediction.output[0])) == (512, 512)


async def test_create_and_wait_asynchronously(asynchronous) -> None:
    """The async client creates, waits, reloads and lists."""
    prediction = await asynchronous.predictions.async_create(version=VERSION, input=SMALL)
    await prediction.async_wait()

    reloaded = await asynchronous.predictions.async_get(prediction.id)
    assert reloaded.output == prediction.output
    listed = await asynchronous.predictions.async_list()
    assert listed.results[0].id == prediction.id


def test_model_version(vendor_client) -> None:
    """`owner/name:version` runs with the published version, and another version is an error that says so."""
    files = vendor_client.run(f"{MODEL}:{VERSION}", input=SMALL)
    assert len(list(files)) == 1

    with pytest.raises(ReplicateError, match="version: send black-forest-labs/flux-2-klein-4b"):
        vendor_client.run(f"{MODEL}:{'0' * 64}", input=SMALL)


def test_edit(vendor_client) -> None:
    """With images the prediction is an edit. It has the first image's size if requested."""
    image = data_uri(image_file(128, 64))
    [file] = vendor_client.run(
        MODEL, input=SMALL | {"images": [image], "aspect_ratio": "match_input_image"}
    )

    assert size(file.read()) == (128, 64)


@pytest.mark.parametrize("strategy", [{}, {"file_encoding_strategy": "base64"}])
def test_edit_of_open_file(vendor_client, strategy, tmp_path: Path) -> None:
    """The client uploads a file by itself, or sends it inline if configured to."""
    (tmp_path / "image.png").write_bytes(image_file(128, 64))
    with (tmp_path / "image.png").open("rb") as image:
        inputs = SMALL | {"images": [image], "aspect_ratio": "match_input_image"}
        [file] = vendor_client.run(MODEL, input=inputs, **strategy)

    assert size(file.read()) == (128, 64)


async def test_edit_of_path_asynchronously(asynchronous, tmp_path: Path) -> None:
    """The async client uploads the file at a path."""
    (tmp_path / "image.png").write_bytes(image_file(128, 64))
    inputs = SMALL | {"images": [tmp_path / "image.png"], "aspect_ratio": "match_input_image"}
    [file] = await asynchronous.async_run(MODEL, input=inputs)

    assert size(await file.aread()) == (128, 64)
    assert (await asynchronous.files.async_list())[0].name == "image.png"


def test_files(klein: Klein, vendor_client) -> None:
    """A file is kept for a day, listed to its key alone, found, served, and gone once deleted."""
    data = image_file(kind="WEBP", lossless=True)
    created = vendor_client.files.create(
        io.BytesIO(data), filename="a.webp", metadata={"order": 17}
    )

    assert (created.name, created.content_type, created.size) == ("a.webp", "image/webp", len(data))
    assert created.metadata == {"order": 17}
    assert created.checksums["sha256"] == hashlib.sha256(data).hexdigest()
    retention = datetime.fromisoformat(created.expires_at) - datetime.fromisoformat(
        created.created_at
    )
    assert retention == timedelta(days=1)
    assert fetch(created.urls["get"]) == data
    assert vendor_client.files.get(created.id) == created
    assert vendor_client.files.list()[0] == created

    with pointed_at(klein, klein.other_key) as other_client:
        assert created.id not in [file.id for file in other_client.files.list()]
        with pytest.raises(ReplicateError, match="upload not found") as caught:
            other_client.files.get(created.id)
    assert caught.value.status == 404

    assert vendor_client.files.delete(created.id)
    assert created.id not in [file.id for file in vendor_client.files.list()]
    assert httpx.get(created.urls["get"], trust_env=False).status_code == 404


def test_invalid_files(klein: Klein, vendor_client) -> None:
    """A file that no model reads is refused by the name of its part, and is not stored."""
    before = len(vendor_client.files.list())
    with pytest.raises(ReplicateError, match="- content: send a PNG, JPEG, WebP or AVIF"):
        vendor_client.files.create(io.BytesIO(b"%PDF-1.7 no image"), filename="a.pdf")
    with klein.client() as client:
        image = {"content": ("a.png", image_file())}
        for sent, field in (
            ({"files": {"file": image["content"]}}, "content"),
            ({"files": image, "data": {"metadata": "[1]"}}, "metadata"),
        ):
            refused = client.post("/v1/files", **sent)
            assert refused.status_code == 422
            assert refused.json()["invalid_fields"][0]["field"] == field
        assert "multipart" in client.post("/v1/files", content=b"x").json()["detail"]

    assert len(vendor_client.files.list()) == before


def test_cancel(vendor_client, busy: str) -> None:
    """A waiting prediction is cancelled. A second cancel changes nothing."""
    prediction = vendor_client.predictions.create(model=MODEL, input=SMALL)
    prediction.cancel()
    assert prediction.status == "canceled"
    prediction.cancel()
    assert prediction.status == "canceled"
    assert prediction.output is None


def test_blocking_create_timeout(vendor_client, busy: str) -> None:
    """The status is `starting`, the only one that the client treats as unfinished."""
    prediction = vendor_client.models.predictions.create(model=MODEL, input=SMALL, wait=1)

    assert prediction.status == "starting"
    prediction.cancel()


def test_list_pagination(vendor_client, klein: Klein) -> None:
    """Every prediction of the key is on exactly one page, including those of other dialects."""
    with klein.client(klein.other_key) as hosted:
        ids = {create(hosted, **LONG) for _ in range(101)}
        for i in ids:
            hosted.post(f"/v1/prediction/{i}/cancel")

    with pointed_at(klein, klein.other_key) as own:
        first = own.predictions.list()
        second = own.predictions.list(first.next)
        back = own.predictions.list(second.previous)

    assert len(first.results) == 100
    listed = [p.id for p in [*first.results, *second.results]]
    assert len(listed) == len(set(listed))
    assert ids <= set(listed)
    assert [p.id for p in back.results] == [p.id for p in first.results]


def test_invalid_input(vendor_client) -> None:
    """A problem has Replicate's form and names, and is reported before anything is queued."""
    with pytest.raises(ReplicateError) as caught:
        vendor_client.run(MODEL, input={"prompt": "x", "aspect_ratio": "7:1", "images": ["a"] * 5})

    assert caught.value.status == 422
    assert caught.value.title == "Input validation failed"
    assert "- aspect_ratio: must be '1:1'" in str(caught.value)
    assert "- images: must have at most 4 items" in str(caught.value)
    with pytest.raises(ReplicateError, match=r"- images\[0\]: "):
        vendor_client.run(MODEL, input={"prompt": "x", "images": ["data:image/png;base64,AAAA"]})


def test_unauthorized_and_unknown(klein: Klein, vendor_client) -> None:
    """A wrong token, another key's prediction and an unknown model give errors in Replicate's form."""
    prediction = vendor_client.predictions.create(model=MODEL, input=SMALL)
    with (
        pointed_at(klein, "wrong") as wrong_key_client,
        pytest.raises(ReplicateError, match="Unauthenticated"),
    ):
        wrong_key_client.run(MODEL, input=SMALL)
    with (
        pointed_at(klein, klein.other_key) as other_client,
        pytest.raises(ReplicateError, match="Prediction not found"),
    ):
        other_client.predictions.get(prediction.id)
    with pytest.raises(ReplicateError, match="model not found"):
        vendor_client.run("stability-ai/sdxl", input=SMALL)


def test_token_header(klein: Klein) -> None:
    """`Authorization: Token` is accepted as a key."""
    headers = {"Authorization": f"Token {klein.key}"}
    answer = httpx.get(f"{klein.url}/v1/predictions", headers=headers, trust_env=False)

    assert answer.status_code == 200


def test_model(vendor_client) -> None:
    """The model is found with its schema."""
    model = vendor_client.models.get(MODEL)

    assert model.id == MODEL
    assert model.latest_version.id == VERSION
    fields = model.latest_version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert {"prompt", "images", "aspect_ratio", "go_fast"} <= set(fields)


def test_webhook_secret_is_per_key(klein: Klein, vendor_client) -> None:
    """The signing secret is the same each time, and differs between keys."""
    with pointed_at(klein, klein.other_key) as other_client:
        other_secret = other_client.webhooks.default.secret()

    assert vendor_client.webhooks.default.secret() == vendor_client.webhooks.default.secret()
    assert vendor_client.webhooks.default.secret() != other_secret


def test_webhook(varied_klein: Klein) -> None:
    """Start and end come in this order, in Replicate's form and signed, and the image can be fetched. The base model works too."""
    with running_receiver() as receiver, pointed_at(varied_klein) as own:
        prediction = own.predictions.create(
            model=f"{MODEL}-base",
            input=SMALL | {"guidance": 3.0},
            webhook=receiver.url,
            webhook_events_filter=["start", "completed"],
        )
        until(lambda: len(receiver.calls) == 2)
        prediction.reload()
        secret = own.webhooks.default.secret()

    started, call = receiver.calls
    for signed in (started, call):
        body = signed.body.decode()
        Webhooks.validate(headers=signed.headers, body=body, secret=secret, tolerance=60)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=call.headers, body="{}", secret=secret)
    assert secret.key not in str(call.headers)
    payload = json.loads(started.body)
    assert (payload["id"], payload["status"], payload["output"]) == (
        prediction.id,
        "processing",
        None,
    )
    payload = json.loads(call.body)
    assert (payload["id"], payload["status"]) == (prediction.id, "succeeded")
    assert payload["output"] == prediction.output
    assert payload["input"]["guidance"] == 3.0
    assert size(fetch(payload["output"][0])) == (512, 512)

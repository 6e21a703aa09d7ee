"""What OpenAI's dialect offers beside the operations of `test_operations`: Azure's client, and raw requests."""

import base64
import io

import openai
from PIL import Image

from tests.support.api_client import data_uri, image_file
from tests.support.klein_server import Klein

SMALL = {"prompt": "a red circle", "size": "64x64"}


def test_azure(klein: Klein) -> None:
    """The Azure client of the SDK sends `api-key`, and names the model in the path."""
    azure = openai.AzureOpenAI(
        api_key=klein.key, azure_endpoint=klein.url, api_version="2026-01-01", max_retries=0
    )
    with azure as client:
        made = client.images.generate(model="gpt-image-1", prompt="a red circle", size="64x64")
        edited = client.images.edit(model="gpt-image-1", prompt="x", image=image_file(64, 64))

    assert (made.size, edited.size) == ("64x64", "64x64")
    assert [image.url for image in made.data or []] == [None]


def test_ten_images(klein: Klein) -> None:
    """Ten images are drawn, each with a seed of its own."""
    with klein.client() as client:
        body = client.post("/openai/v1/images/generations", json=SMALL | {"n": 10, "seed": 7})

    assert len({image["b64_json"] for image in body.json()["data"]}) == 10


def test_edits_in_json_and_in_every_spelling_of_a_form(klein: Klein) -> None:
    """An edit takes its images as JSON, as text of a form, and under repeated and numbered names."""
    image = image_file(128, 64)
    fields = {"prompt": "make it red", "response_format": "b64_json"}
    files = [
        ("image[0]", ("a.png", image)),
        ("images[]", ("b.png", image)),
        ("image", ("c.png", image)),
    ]
    path = "/openai/v1/images/edits"
    with klein.client() as client:
        answers = [
            client.post(path, json=fields | {"images": [{"image_url": data_uri(image)}]}),
            client.post(path, json=fields | {"image": base64.b64encode(image).decode()}),
            client.post(path, files={"image": (None, data_uri(image_file(256, 128)))}, data=fields),
            client.post(path, files=files, data=fields),
        ]

    sizes = [answer.json()["size"] for answer in answers]
    assert sizes == ["128x64", "128x64", "256x128", "128x64"]


def test_together(klein: Klein) -> None:
    """Together's form of a request is taken on the same path, with an image to edit too."""
    sent = {"prompt": "a red circle", "width": 128, "height": 64, "steps": 2, "seed": 7}
    path = "/openai/v1/images/generations"
    with klein.client() as client:
        made = client.post(path, json=sent | {"response_format": "base64"}).json()
        url = data_uri(image_file(64, 64))
        edited = client.post(path, json={"prompt": "x", "image_url": url, "steps": 1}).json()

    [image] = made["data"]
    assert (image["index"], sorted(image)) == (0, ["b64_json", "index"])
    with Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) as opened:
        assert opened.size == (128, 64)
    assert edited["size"] == "64x64"


def test_options_name_the_methods(klein: Klein) -> None:
    """OPTIONS is answered with the methods of a path. A page of another origin is allowed nothing."""
    with klein.client() as client:
        answer = client.options("/v1/images/generations", headers={"Origin": "https://a.example"})
        assert (answer.status_code, answer.headers["Allow"]) == (204, "OPTIONS, POST")
        assert "access-control-allow-origin" not in answer.headers
        assert client.options("/nothing").status_code == 404

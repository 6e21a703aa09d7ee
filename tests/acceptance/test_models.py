"""The model list and the model schemas, which need no key."""

from typing import Any

import httpx
import jsonschema
import pytest
from schemathesis.openapi import from_dict

from tests.support.api_client import EDIT, TEXT, create, data_uri, get, image_file, order

BASE_TEXT = "flux-2-klein-4b-base-text-to-image"
BASE_EDIT = "flux-2-klein-4b-base-edit"


def slugs(client: httpx.Client, **query: Any) -> list[str]:
    return [model["slug"] for model in client.get("/v1/models", params=query).json()]


def test_only_served_models_are_listed(client: httpx.Client, varied_client: httpx.Client) -> None:
    """A distilled checkpoint lists its two slugs, a base checkpoint the base slugs."""
    assert slugs(client) == [TEXT, EDIT]
    assert slugs(varied_client) == [BASE_TEXT, BASE_EDIT]


def test_unserved_model_is_404(client: httpx.Client) -> None:
    """A create with a slug whose checkpoint is not served is a 404."""
    answers = [client.post("/v1/prediction", json=order(BASE_TEXT))]
    answers.append(client.post("/v1/prediction", json=order("flux-2-klein-9b-text-to-image")))

    assert [answer.status_code for answer in answers] == [404, 404]


def test_base_checkpoint_serves_distilled_slugs(varied_client: httpx.Client) -> None:
    """Where only the base checkpoint is served, the slugs of the distilled one run on it with its number of steps."""
    prediction_id = create(varied_client, TEXT, num_inference_steps=1)
    ended = get(varied_client, prediction_id, wait=60)
    shown = varied_client.get(f"/v1/models/{TEXT}").json()

    assert ended["status"] == "success"
    assert shown["slug"] == BASE_TEXT
    assert shown["request_schema"]["properties"]["num_inference_steps"]["default"] == 28


def test_model_list_filter_and_pagination(client: httpx.Client) -> None:
    """Name matches slug or title in any case. Limit and offset select from the list."""
    assert slugs(client, name="EDIT") == [EDIT]
    assert slugs(client, name="klein] 4b text") == [TEXT]
    assert slugs(client, name="nothing") == []
    assert slugs(client, limit=1, offset=1) == [EDIT]
    assert slugs(client, offset=2) == []


@pytest.mark.parametrize("slug", [TEXT, EDIT])
def test_model_is_equal_in_detail_and_list(client: httpx.Client, slug: str) -> None:
    """Detail by path, by query and in the list are equal."""
    by_path = client.get(f"/v1/models/{slug}").json()

    assert by_path == client.get("/v1/model", params={"slug": slug}).json()
    assert by_path in client.get("/v1/models").json()
    assert (by_path["slug"], by_path["version"]) == (slug, "0.0.1")


@pytest.mark.parametrize("slug", [TEXT, EDIT, BASE_TEXT, BASE_EDIT])
def test_request_schema_is_plain(
    client: httpx.Client, varied_client: httpx.Client, slug: str
) -> None:
    """A request schema is JSON Schema with scalar types and every field of the contract."""
    server = varied_client if "base" in slug else client
    schema = server.get(f"/v1/models/{slug}").json()["request_schema"]

    jsonschema.Draft202012Validator.check_schema(schema)
    fields = schema["properties"]
    assert {type(field["type"]) for field in fields.values()} == {str}
    assert ("image_urls" in schema["required"]) == ("edit" in slug)
    assert ("guidance_scale" in fields) == (slug != EDIT)
    assert fields["num_inference_steps"]["default"] == (28 if "base" in slug else 4)
    assert {"prompt", "image_size", "num_images", "acceleration", "seed"} <= set(fields)
    assert {"output_format", "enable_safety_checker", "sync_mode"} <= set(fields)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"prompt": ""},
        {"prompt": 1},
        {"num_images": 4},
        {"num_images": 5},
        {"num_images": 2.0},
        {"num_images": 2.5},
        {"guidance_scale": 20},
        {"guidance_scale": 20.1},
        {"num_inference_steps": 50},
        {"num_inference_steps": 0},
        {"image_size": "square"},
        {"image_size": "round"},
        {"seed": -1},
        {"seed": "1"},
        {"output_format": "webp"},
        {"output_format": "gif"},
        {"sync_mode": True},
        {"sync_mode": "true"},
        {"acceleration": "none"},
        {"another": 1},
    ],
)
def test_server_and_schema_agree(client: httpx.Client, inputs: dict[str, Any]) -> None:
    """The server accepts an input exactly if it is valid under the published schema."""
    schema = client.get(f"/v1/models/{TEXT}").json()["request_schema"]
    inputs = {"prompt": "a", "image_size": "square"} | inputs

    answer = client.post("/v1/prediction", json={"model": TEXT, "input": inputs})
    if answer.status_code == 200:
        client.post(f"/v1/prediction/{answer.json()['id']}/cancel")

    assert (answer.status_code == 200) == jsonschema.Draft202012Validator(schema).is_valid(inputs)


def test_server_and_edit_schema_agree(client: httpx.Client) -> None:
    """The edit schema accepts one to four images, as the server does."""
    schema = client.get(f"/v1/models/{EDIT}").json()["request_schema"]
    valid = jsonschema.Draft202012Validator(schema).is_valid

    uri = data_uri(image_file())
    assert [valid({"prompt": "a", "image_urls": [uri] * n}) for n in (0, 1, 4, 5)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("slug", [TEXT, EDIT])
def test_model_openapi_document_is_valid(client: httpx.Client, slug: str) -> None:
    """The document is valid OpenAPI 3.0 that names the slug, its input and this server."""
    document = client.get(f"/v1/models/{slug}/schemas/openapi").json()

    from_dict(document).validate()
    body = document["paths"]["/v1/prediction"]["post"]["requestBody"]["content"]
    properties = body["application/json"]["schema"]["properties"]
    assert document["openapi"].startswith("3.0.")
    assert properties["model"]["enum"] == [slug]
    assert properties["input"] == client.get(f"/v1/models/{slug}").json()["request_schema"]
    assert document["servers"] == [{"url": str(client.base_url).rstrip("/")}]


def test_list_is_compressed_on_request(client: httpx.Client) -> None:
    """A caller that accepts gzip gets the list of models in a fraction of its bytes."""
    compressed = client.get("/v1/models", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/v1/models", headers={"Accept-Encoding": "gzip;q=0, identity"})

    assert compressed.json() == plain.json()
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert 2 * int(compressed.headers["Content-Length"]) < int(plain.headers["Content-Length"])

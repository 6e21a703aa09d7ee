"""GET /v1/loras, and the check of a request's LoRAs before it is queued."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient

from app.loras.transformer import PUBLISHED, TransformerSize
from app.main import create_app
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.settings import Settings
from tests.support.api_client import order
from tests.support.lora_headers import lora_shapes, write_header

KEY = {"X-API-Key": "k"}
LAYER = "transformer.single_transformer_blocks.3.attn.to_out"
DISTILLED_MODELS = ["flux-2-klein-4b-text-to-image", "flux-2-klein-4b-edit"]


class Served(NamedTuple):
    folder: Path
    client: TestClient
    registry: WorkerRegistry

    def names(self, **parameters: object) -> list[str]:
        """List the names."""
        listed = self.client.get("/v1/loras", params=parameters, headers=KEY)  # type: ignore[arg-type]  # any value
        return [lora["name"] for lora in listed.json()]

    def create(self, path: str) -> tuple[int, str]:
        """Create a prediction with a LoRA, and return the status and the response."""
        body = order(loras=[{"path": path}])
        response = self.client.post("/v1/prediction", json=body, headers=KEY)
        return response.status_code, response.text


def announce(
    registry: WorkerRegistry,
    transformer: TransformerSize | None,
    *,
    has_lora_folder: bool = True,
) -> None:
    registry.announce(
        Worker(
            name="w",
            checkpoint=CheckpointKind.DISTILLED,
            weights="FLUX.2 [klein] 4B",
            revision="1",
            seen_at=registry.now(),
            transformer=transformer,
            has_lora_folder=has_lora_folder,
        )
    )


@pytest.fixture
def served(redis_server, connection, tmp_path) -> Iterator[Served]:
    folder = tmp_path / "loras"
    registry = WorkerRegistry(connection)
    announce(registry, PUBLISHED["FLUX.2-klein-4B"])
    metadata = {"trigger_word": "inkwash, wet paper"}
    write_header(folder / "ink.safetensors", lora_shapes(LAYER, 3072, 12288), metadata)
    write_header(folder / "big" / "nine.safetensors", lora_shapes(LAYER, 4096, 16384))
    (folder / "cut.safetensors").write_bytes((folder / "ink.safetensors").read_bytes()[:-5])
    (folder / "notes.txt").write_text("no LoRA")
    settings = Settings(redis_url=redis_server.url, data=tmp_path, api_keys=("k",), loras=folder)
    with TestClient(create_app(settings)) as client:
        yield Served(folder, client, registry)


def test_the_list_says_what_fits(served):
    """Each LoRA is listed with its size, the checkpoint and models that it fits, its trigger words and its problem."""
    nine, cut, ink = served.client.get("/v1/loras", headers=KEY).json()

    assert ink == {
        "name": "ink.safetensors",
        "size_bytes": (served.folder / "ink.safetensors").stat().st_size,
        "base": "FLUX.2-klein-4B",
        "models": DISTILLED_MODELS,
        "trigger_words": ["inkwash", "wet paper"],
        "problem": None,
    }
    assert (nine["name"], nine["base"], nine["models"]) == (
        "big/nine.safetensors",
        "FLUX.2-klein-9B",
        [],
    )
    assert "another size" in nine["problem"]
    assert "cut off" in cut["problem"]


def test_the_list_has_pages_and_a_filter(served):
    """`name`, `limit` and `offset` select from the list."""
    assert served.names(name="INK") == ["ink.safetensors"]
    assert served.names(limit=1, offset=1) == ["cut.safetensors"]
    assert served.client.get("/v1/loras?limit=0", headers=KEY).status_code == 400


def test_the_list_needs_a_key(served):
    """Without a key the list is a 401."""
    assert served.client.get("/v1/loras").status_code == 401


def test_a_new_file_is_listed_at_once(served):
    """A file is listed and usable as soon as it is in the folder, and gone once it is deleted."""
    file = served.folder / "late.safetensors"
    assert served.create("late.safetensors")[0] == 400
    write_header(file, lora_shapes(LAYER, 3072, 12288))

    assert "late.safetensors" in served.names()
    assert served.create("late.safetensors")[0] == 200
    file.unlink()
    assert "late.safetensors" not in served.names()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.safetensors", "no such file"),
        ("cut.safetensors", "cut off"),
        ("big/nine.safetensors", "another size"),
    ],
)
def test_an_unusable_lora_is_refused_at_create(served, path, message):
    """A LoRA that is missing, damaged or made for another model is a 400 that names the field and the reason."""
    status, text = served.create(path)

    assert status == 400
    assert "loras[0].path" in text
    assert message in text


def test_what_cannot_be_known_is_accepted(served, redis_server, tmp_path):
    """Where the worker may see a folder that the API does not, the prediction is queued. Where nobody has one, it is a 400."""
    settings = Settings(redis_url=redis_server.url, data=tmp_path, api_keys=("k",))
    with TestClient(create_app(settings)) as client:
        elsewhere = Served(served.folder, client, served.registry)

        assert elsewhere.create("any.safetensors")[0] == 200
        announce(served.registry, None, has_lora_folder=False)
    with TestClient(create_app(settings)) as client:
        status, text = Served(served.folder, client, served.registry).create("any.safetensors")
    assert (status, "KLEIN_LORAS" in text) == (400, True)

"""LoRAs by URL and hub id: who may be asked, what is fetched, and what the cache keeps."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from fastapi.testclient import TestClient

from app.loras.errors import DiskLow
from app.loras.fetch import LoraFetcher
from app.loras.transformer import PUBLISHED
from app.main import create_app
from app.predictions.slow_threads import THREADS_PER_KEY
from app.predictions.worker_registry import WorkerRegistry
from app.safe_http import Reply, SafeHttp
from app.settings import Settings
from tests.integration.test_lora_list import DISTILLED_MODELS, LAYER, announce
from tests.support.api_client import order
from tests.support.lora_headers import lora_shapes, write_header
from tests.support.static_server import StaticServer, serving_files

KEYS = {name: {"X-API-Key": name} for name in ("k", "other")}


class Api:
    """An API process whose hub and only allowed host is a local server."""

    def __init__(self, folder: Path, redis_url: str, server: StaticServer, **settings: Any) -> None:
        self.server = server
        defaults = {
            "lora_sources": ("hub",),
            "allow_hosts": ("127.0.0.1",),
            "hub_endpoint": server.url,
        }
        self.app = create_app(
            Settings(
                redis_url=redis_url, data=folder, api_keys=("k", "other"), **(defaults | settings)
            )
        )
        self.client = TestClient(self.app)

    def create(self, path: str, key: str = "k") -> tuple[int, str]:
        response = self.client.post(
            "/v1/prediction", json=order(loras=[{"path": path}]), headers=KEYS[key]
        )
        return response.status_code, response.text

    def listed(self, key: str = "k") -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.client.get("/v1/loras", headers=KEYS[key]).json()
        return listed


@pytest.fixture
def server(tmp_path) -> Iterator[StaticServer]:
    with serving_files(tmp_path / "served") as server:
        for name in ("one", "two"):
            repository = server.folder / "owner" / name / "resolve" / "main"
            metadata = {"trigger_word": name}
            write_header(repository / "ink.safetensors", lora_shapes(LAYER, 3072, 12288), metadata)
            listing = {"siblings": [{"rfilename": "ink.safetensors"}, {"rfilename": "README.md"}]}
            server.write(f"api/models/owner/{name}", json.dumps(listing).encode())
        write_header(server.folder / "nine.safetensors", lora_shapes(LAYER, 4096, 16384))
        server.write("page.safetensors", b"<html>not found</html>")
        yield server


@pytest.fixture
def open_api(server, redis_server, connection, tmp_path) -> Iterator[Callable[..., Api]]:
    announce(WorkerRegistry(connection), PUBLISHED["FLUX.2-klein-4B"])
    with ExitStack() as clients:

        def open_one(**settings: Any) -> Api:
            opened = Api(tmp_path / "data", redis_server.url, server, **settings)
            clients.enter_context(opened.client)
            return opened

        yield open_one


@pytest.fixture
def api(open_api) -> Api:
    opened: Api = open_api()
    return opened


def test_hub_id_is_fetched_once_and_listed(api):
    """A repository's LoRA is stored by its content, listed for its key alone, and not fetched again."""
    assert api.create("owner/one")[0] == 200
    requested = len(api.server.requested)
    assert api.create("owner/one")[0] == 200

    assert len(api.server.requested) == requested == 2
    [listed] = api.listed()
    assert (listed["name"], listed["base"], listed["models"], listed["trigger_words"]) == (
        "owner/one",
        "FLUX.2-klein-4B",
        DISTILLED_MODELS,
        ["one"],
    )
    assert api.listed("other") == []


@pytest.mark.parametrize(
    "path", ["owner/one/ink.safetensors", "{url}/owner/one/blob/main/ink.safetensors"]
)
def test_file_of_repository_may_be_named(api, path):
    """A file of a repository is named by its path, or by the URL of its page."""
    assert api.create(path.format(url=api.server.url))[0] == 200


def test_configuration_of_peft_comes_along(api, tmp_path):
    """The adapter_config.json beside PEFT's file is stored with it."""
    folder = api.server.folder / "owner" / "peft" / "resolve" / "main"
    write_header(folder / "adapter_model.safetensors", lora_shapes(LAYER, 3072, 12288))
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 4}')

    assert api.create("owner/peft/adapter_model.safetensors")[0] == 200
    [stored] = (tmp_path / "data" / "outputs" / "loras").iterdir()
    assert {file.name for file in stored.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{url}/nine.safetensors", "another size"),
        ("{url}/page.safetensors", "web page"),
        ("{url}/missing.safetensors", "could not be fetched"),
        ("owner/three", "could not be fetched"),
        ("https://example.com/a.safetensors", "KLEIN_LORA_SOURCES"),
        ("http://169.254.169.254/a.safetensors", "KLEIN_LORA_SOURCES"),
    ],
)
def test_unusable_source_is_refused(api, path, message):
    """What cannot be fetched, does not fit or is not allowed is a 400 that names the field. Nothing is stored."""
    status, text = api.create(path.format(url=api.server.url))

    assert status == 400
    assert "loras[0].path" in text
    assert message in text
    assert api.listed() == []


def test_sources_are_off_by_default(server, open_api):
    """Without KLEIN_LORA_SOURCES nothing is fetched."""
    api = open_api(lora_sources=())

    status, text = api.create(f"{server.url}/nine.safetensors")
    assert (status, "KLEIN_LORA_SOURCES" in text) == (400, True)
    assert server.requested == []


def test_private_hosts_need_permission(server, open_api):
    """A host in a private network is not reached unless KLEIN_ALLOW_HOSTS names it, whatever the sources are."""
    api = open_api(lora_sources=("*",), allow_hosts=())

    assert api.create(f"{server.url}/owner/one/resolve/main/ink.safetensors")[0] == 400
    assert server.requested == []


def test_cache_keeps_to_its_size(server, open_api, tmp_path):
    """Where the cache is full, the LoRA used longest ago is deleted and fetched again when it is named."""
    small = open_api(lora_cache_bytes=2**20)
    write_header(
        server.folder / "owner/one/resolve/main/ink.safetensors",
        lora_shapes(LAYER, 3072, 12288, rank=10),
    )
    write_header(
        server.folder / "owner/two/resolve/main/ink.safetensors",
        lora_shapes(LAYER, 3072, 12288, rank=11),
    )
    assert small.create("owner/one")[0] == small.create("owner/two")[0] == 200

    assert [lora["name"] for lora in small.listed()] == ["owner/two"]
    assert len(list((tmp_path / "data" / "outputs" / "loras").iterdir())) == 1
    assert small.create("owner/one")[0] == 200


def test_low_disk_refuses_lora(server, open_api):
    """A LoRA that would take what the disk keeps for images is a 503, and the prediction is not queued."""
    full = open_api(disk_reserve_bytes=2**60)

    status, text = full.create("owner/one")

    assert (status, "too little space" in text) == (503, True)
    assert full.listed() == []


class EndlessHost:
    """Sends as much as is read."""

    def __init__(self) -> None:
        self.read_bytes: list[int] = []

    async def send(self, *_: object, max_bytes: int, into: BinaryIO, **__: object) -> Reply:
        self.read_bytes.append(max_bytes)
        into.write(b"x" * max_bytes)
        return Reply(status=200, is_encoded=False, body=b"", is_whole=False)


def test_no_more_is_read_than_disk_has_room_for(tmp_path):
    """Of a file without end no more is read than its share of what is free above the reserve."""
    host = EndlessHost()
    fetcher = LoraFetcher(cast("SafeHttp", host), ("*",), "", 2**30, tmp_path, reserve_bytes=2**60)
    with pytest.raises(DiskLow):
        fetcher.fetch("https://example.com/a.safetensors", tmp_path, "k")

    assert host.read_bytes == [1]


def test_slow_hosts_of_one_key_leave_fetches_to_others(server, open_api):
    """While a key fetches as many LoRAs as it may from a host that does not answer, another key's is fetched."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(3) as threads:
        host, port = silent.getsockname()
        api = open_api(lora_sources=("hub", host))
        slow = [
            threads.submit(api.create, f"http://{host}:{port}/{n}.safetensors") for n in range(3)
        ]
        held = [silent.accept()[0] for _ in range(THREADS_PER_KEY)]

        other = api.create("owner/one", key="other")
        for connection in held:
            connection.close()
        silent.accept()[0].close()

        assert other[0] == 200
        assert [create.result()[0] for create in slow] == [400] * 3


def test_lora_above_limit_is_refused(server, open_api):
    """A LoRA larger than the cache is refused before it is read to its end."""
    small = open_api(lora_cache_bytes=2**20)
    write_header(server.folder / "large.safetensors", lora_shapes(LAYER, 3072, 12288, rank=64))

    status, text = small.create(f"{server.url}/large.safetensors")
    assert (status, "larger than 1 MB" in text) == (400, True)

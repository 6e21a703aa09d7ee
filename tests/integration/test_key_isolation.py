"""Isolation of two keys on one api: on no route can one key see, change or notice anything of the other.

The routes are taken from the app, so a new route is tested automatically, or fails until this file knows it.
"""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from app.api.auth import CallersKey
from app.api.state import state_of
from app.dialects.a1111.routes import NOTHING
from app.dialects.http import VendorRoute
from app.dialects.registry import DIALECTS
from app.keys import hash_key
from app.main import create_app
from app.predictions import service
from app.predictions.prediction import Output, Webhook
from app.settings import Settings
from app.storage.local import LocalStorage
from app.uploads import Upload, Uploads
from tests.support.fakes import a_prediction, a_store

OWN = "11111111-1111-4111-8111-111111111111"
MISSING = "22222222-2222-4222-8222-222222222222"
OWNER, OTHER_KEY = "the owner's key", "the stranger's key"
NAMED: dict[str, str] = {
    "owner": "black-forest-labs",
    "name": "flux-2-klein-4b",
    "deployment": "flux-2-klein-4b",
    "app_id": "fal-ai/flux-2",
}
"""Path parameters of private routes that name nothing owned by a key. All others do."""
IDS = {"prediction_id", "file_id", "id"}
PUBLIC = {
    "/",
    "/page/{name}",
    "/docs",
    "/fal",  # forwards to another route, which asks for a key
    "/docs/{name}",
    "/files/{key:path}",  # the signature is the permission
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/files/uploads/{upload_id}/{name}",  # the signature is the permission
    "/v1/model",
    "/v1/models",
    "/v1/models/{owner}/{name}",
    "/v1/models/{owner}/{name}/examples",
    "/v1/models/{owner}/{name}/readme",
    "/v1/models/{owner}/{name}/versions",
    "/v1/models/{owner}/{name}/versions/{version}",
    "/v1/models/{name:path}",
    "/v1/models/{slug}",
    "/v1/models/{slug}/schemas/openapi",
}
PREFIXES = [dialect.prefix for dialect in DIALECTS if dialect.prefix]


class Way(NamedTuple):
    """One method of one route."""

    method: str
    path: str
    names: frozenset[str]

    def filled(self, prediction_id: str) -> str:
        """Fill an id into the path."""
        path = self.path.replace(":path}", "}")
        return path.format(**NAMED, **dict.fromkeys(IDS, prediction_id))


def without_prefix(path: str) -> str:
    """Return a path as it is at the root, if its dialect is there too."""
    prefix = next((p for p in PREFIXES if path.startswith(f"{p}/")), "")
    return path.removeprefix(prefix)


def _asks_for_a_key(dependant: Dependant | None) -> bool:
    if dependant is None:
        return False
    return isinstance(dependant.call, CallersKey) or any(
        map(_asks_for_a_key, dependant.dependencies)
    )


def _ways() -> tuple[list[Way], list[Way]]:
    """Return the private and the public routes of the app."""
    private: list[Way] = []
    public: list[Way] = []
    for route in iter_route_contexts(create_app(Settings()).routes):
        if isinstance(route.original_route, VendorRoute) and str(route.path).startswith("/v1/"):
            continue  # for one vendor's clients alone, and the same route as below its prefix
        asks = _asks_for_a_key(getattr(route, "dependant", None))
        names = frozenset(getattr(route, "param_convertors", None) or {})
        for method in sorted(route.methods or ()):
            (private if asks else public).append(Way(method, str(route.path), names))
    return private, public


PRIVATE, OPEN = _ways()
WITH_ID = [way for way in PRIVATE if "{" in way.path and way.names - NAMED.keys()]
COUNTS = {"/v1/status", "/v1/loras"}  # of the whole server, and nothing of a key
SAME = {  # for all keys, or about predictions that have not ended
    "/bfl/v1/credits",
    "/bfl/v1/get_result",
    "/v1/account",
    "/v1/search",
    "/v1/collections",
    "/v1/deployments",
    "/v1/hardware",
    "/v1/trainings",
    *(f"/sdapi/v1/{name}" for name in ("loras", "options", "progress", "sd-models", *NOTHING)),
}
SECRETS = {"/v1/webhooks/default/secret"}  # one per key
SUMS = {"/v1/usage"}  # of a key's predictions, without their ids
LISTS = [
    way
    for way in PRIVATE
    if way.method == "GET"
    and way not in WITH_ID
    and not {way.path, without_prefix(way.path)} & (COUNTS | SAME | SECRETS | SUMS)
]


@pytest.fixture
def app_client(redis_server, connection, tmp_path):
    """The whole api on a real Redis, with one ended prediction and one upload of the owner."""
    settings = Settings(
        redis_url=redis_server.url, data=tmp_path, api_keys=(OWNER, OTHER_KEY), _env_file=None
    )
    hook = Webhook(url="http://example.com/", secret="whsec_secret", base="http://testserver")
    store = a_store(connection)
    image = (Output(key=f"{OWN}/a/0.png", width=64, height=64),)
    own = a_prediction(OWN, key_id=hash_key(OWNER)[:16], webhook=hook, created_at=datetime.now(UTC))
    app = create_app(settings)
    LocalStorage(tmp_path / "outputs").put(f"{OWN}/a/0.png", b"image")
    store.add(own)
    store.change(OWN, lambda p, now: p.claim("a", now))
    store.change(OWN, lambda p, now: p.succeed("a", image, (), now))
    upload = Upload(
        id=OWN,
        key_id=own.key_id,
        media_type="image/png",
        opened_at=own.created_at,
        expires_at=own.created_at + timedelta(days=1),
    )
    connection.set(f"klein:upload:{OWN}", TypeAdapter(Upload).dump_json(upload))
    state_of(app).uploads.store(upload, BytesIO(b"image"))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def response_to(
    client: TestClient, way: Way, path: str, key: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request, and return everything in the response that could differ, except the echoed id."""
    answer = client.request(way.method, path, headers={"X-API-Key": key})
    headers = {k: v for k, v in answer.headers.items() if k not in {"x-request-id", "date"}}
    return answer.status_code, headers, answer.content


def everything(connection: Any) -> dict[bytes, bytes]:
    """Return everything in Redis about predictions and deliveries."""
    return {key: connection.dump(key) for key in connection.keys("klein:*")}


def test_public_routes_are_listed() -> None:
    """No route is public except those that this file names. A new route is private, or named here."""
    assert {without_prefix(way.path) for way in OPEN} <= PUBLIC


def test_every_path_parameter_is_known() -> None:
    """This file can fill in each path parameter of the private routes."""
    assert {name for way in PRIVATE for name in way.names} <= IDS | NAMED.keys()
    assert len(WITH_ID) >= 8
    assert len(LISTS) >= 3


@pytest.mark.parametrize("way", PRIVATE, ids=lambda w: f"{w.method} {w.path}")
def test_without_key_every_private_route_is_401(app_client, way):
    """Without a key and with a wrong key every private route gives the same 401."""
    path = way.filled(OWN)
    none, wrong = app_client.request(way.method, path), response_to(app_client, way, path, "wrong")

    assert (none.status_code, none.content) == (wrong[0], wrong[2])
    assert none.status_code == 401


@pytest.mark.parametrize("way", WITH_ID, ids=lambda w: f"{w.method} {w.path}")
def test_another_keys_id_is_unknown(app_client, connection, way):
    """The answer for another key's id equals, byte for byte, the answer for an unknown id. Nothing changes."""
    before = everything(connection)
    theirs = response_to(app_client, way, way.filled(OWN), OTHER_KEY)
    unknown_response = response_to(app_client, way, way.filled(MISSING), OTHER_KEY)

    assert theirs == unknown_response
    assert theirs[0] in {404, 204}
    assert everything(connection) == before
    assert response_to(app_client, way, way.filled(OWN), OWNER)[0] != 404


@pytest.mark.parametrize("way", LISTS, ids=lambda w: f"{w.method} {w.path}")
def test_lists_show_only_own_predictions(app_client, way):
    """The owner's lists contain the prediction, the other key's lists do not."""
    assert OWN.encode() in response_to(app_client, way, way.path, OWNER)[2]
    assert OWN.encode() not in response_to(app_client, way, way.path, OTHER_KEY)[2]


@pytest.mark.parametrize("path", sorted(SUMS))
def test_sums_count_only_own_predictions(app_client, path):
    """The owner's sums count the prediction, the other key's are empty."""
    way = Way("GET", path, frozenset())

    assert json.loads(response_to(app_client, way, path, OWNER)[2]) != {"usage": []}
    assert json.loads(response_to(app_client, way, path, OTHER_KEY)[2]) == {"usage": []}


def test_without_owner_check_lists_show_others(app_client, monkeypatch):
    """A service that does not check the owner shows the prediction to the other key, so the tests above can fail."""
    monkeypatch.setattr(service, "own_prediction", lambda _key, prediction: prediction)  # a mutant
    monkeypatch.setattr(Uploads, "owned", lambda self, _key, upload_id: self.get(upload_id))
    ways = [way for way in WITH_ID if "webhooks" not in way.path]
    ways.sort(key=lambda way: way.method == "DELETE")  # the others find nothing after it

    assert all(response_to(app_client, way, way.filled(OWN), OTHER_KEY)[0] != 404 for way in ways)
    assert ways


def test_ids_are_compared_exactly(app_client):
    """An id with a trailing space is another id, also for the owner."""
    way = Way("GET", "/v1/prediction/{prediction_id}", frozenset({"prediction_id"}))

    assert response_to(app_client, way, way.filled(f"{OWN} "), OWNER)[0] == 404


@pytest.mark.parametrize("path", sorted(SECRETS))
def test_webhook_secret_is_per_key(app_client, path):
    """Each key gets the same secret each time, and never another key's."""
    way = Way("GET", path, frozenset())
    owners, again, other_response = (
        response_to(app_client, way, path, k) for k in (OWNER, OWNER, OTHER_KEY)
    )

    assert owners[0] == other_response[0] == 200
    assert owners[2] == again[2] != other_response[2]


@pytest.mark.parametrize("path", sorted(COUNTS | SAME))
def test_counts_name_no_key_or_prediction(app_client, path):
    """Counts over all keys contain no prediction and no key, not even for the owner."""
    way = Way("GET", path, frozenset())
    counts = response_to(app_client, way, path, OWNER)[2].decode()

    assert OWN not in counts
    assert hash_key(OWNER)[:16] not in counts

"""Isolation of two keys on one api: on no route can one key see, change or notice anything of the other.

The routes are taken from the app, so a new route is tested automatically, or fails until this file knows it.
"""

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
OWNER, STRANGER = "the owner's key", "the stranger's key"
NAMED: dict[str, str] = {"owner": "black-forest-labs", "name": "flux-2-klein-4b"}
"""Path parameters of private routes that name nothing owned by a key. All others do."""
IDS = {"prediction_id", "file_id", "id"}
PUBLIC = {
    "/",
    "/page/{name}",
    "/docs",
    "/docs/oauth2-redirect",
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
    "/v1/models/{owner}/{name}/versions",
    "/v1/models/{owner}/{name}/versions/{version}",
    "/v1/models/{name}",
    "/v1/models/{slug}",
    "/v1/models/{slug}/schemas/openapi",
}


class Way(NamedTuple):
    """One method of one route."""

    method: str
    path: str
    names: frozenset[str]

    def filled(self, prediction_id: str) -> str:
        """Fill an id into the path."""
        return self.path.format(**NAMED, **dict.fromkeys(IDS, prediction_id))


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
        asks = _asks_for_a_key(getattr(route, "dependant", None))
        names = frozenset(getattr(route, "param_convertors", None) or {})
        for method in sorted(route.methods or ()):
            (private if asks else public).append(Way(method, str(route.path), names))
    return private, public


PRIVATE, OPEN = _ways()
WITH_ID = [way for way in PRIVATE if "{" in way.path and way.names - NAMED.keys()]
COUNTS = {"/v1/status"}  # of the whole server, without names
SECRETS = {"/v1/webhooks/default/secret"}  # one per key
LISTS = [
    way
    for way in PRIVATE
    if way.method == "GET" and way not in WITH_ID and way.path not in COUNTS | SECRETS
]


@pytest.fixture
def app_client(redis_server, connection, tmp_path):
    """The whole api on a real Redis, with one ended prediction and one upload of the owner."""
    settings = Settings(
        redis_url=redis_server.url, data=tmp_path, api_keys=(OWNER, STRANGER), _env_file=None
    )
    hook = Webhook(url="http://example.com/", secret="whsec_secret", base="http://testserver")
    store = a_store(connection)
    picture = (Output(key=f"{OWN}/a/0.png", width=64, height=64),)
    own = a_prediction(OWN, key_id=hash_key(OWNER)[:16], webhook=hook, created_at=datetime.now(UTC))
    app = create_app(settings)
    LocalStorage(tmp_path / "outputs").put(f"{OWN}/a/0.png", b"picture")
    store.add(own)
    store.change(OWN, lambda p, now: p.claim("a", now))
    store.change(OWN, lambda p, now: p.succeed("a", picture, (), now))
    upload = Upload(
        id=OWN,
        key_id=own.key_id,
        media_type="image/png",
        opened_at=own.created_at,
        expires_at=own.created_at + timedelta(days=1),
    )
    connection.set(f"klein:upload:{OWN}", TypeAdapter(Upload).dump_json(upload))
    state_of(app).uploads.store(upload, BytesIO(b"picture"))
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


def test_every_public_route_is_meant_to_be() -> None:
    """No route is public except those that this file names. A new route is private, or named here."""
    assert {way.path for way in OPEN} <= PUBLIC


def test_every_id_is_known() -> None:
    """This file can fill in each path parameter of the private routes."""
    assert {name for way in PRIVATE for name in way.names} <= IDS | NAMED.keys()
    assert len(WITH_ID) >= 8
    assert len(LISTS) >= 3


@pytest.mark.parametrize("way", PRIVATE, ids=lambda w: f"{w.method} {w.path}")
def test_without_a_key_nothing_is_answered(app_client, way):
    """Without a key and with a wrong key every private route gives the same 401."""
    path = way.filled(OWN)
    none, wrong = app_client.request(way.method, path), response_to(app_client, way, path, "wrong")

    assert (none.status_code, none.content) == (wrong[0], wrong[2])
    assert none.status_code == 401


@pytest.mark.parametrize("way", WITH_ID, ids=lambda w: f"{w.method} {w.path}")
def test_what_is_anothers_is_not_there(app_client, connection, way):
    """The answer for another key's id equals, byte for byte, the answer for an unknown id. Nothing changes."""
    before = everything(connection)
    theirs = response_to(app_client, way, way.filled(OWN), STRANGER)
    nobodys = response_to(app_client, way, way.filled(MISSING), STRANGER)

    assert theirs == nobodys
    assert theirs[0] in {404, 204}
    assert everything(connection) == before
    assert response_to(app_client, way, way.filled(OWN), OWNER)[0] != 404


@pytest.mark.parametrize("way", LISTS, ids=lambda w: f"{w.method} {w.path}")
def test_a_list_shows_only_ones_own(app_client, way):
    """The owner's lists contain the prediction, the other key's lists do not."""
    assert OWN.encode() in response_to(app_client, way, way.path, OWNER)[2]
    assert OWN.encode() not in response_to(app_client, way, way.path, STRANGER)[2]


def test_without_the_look_at_the_owner_it_would_be(app_client, monkeypatch):
    """A service that does not check the owner shows the prediction to the other key, so the tests above can fail."""
    monkeypatch.setattr(service, "own_prediction", lambda _key, prediction: prediction)  # a mutant
    monkeypatch.setattr(Uploads, "owned", lambda self, _key, upload_id: self.get(upload_id))
    ways = [way for way in WITH_ID if "webhooks" not in way.path]

    assert all(response_to(app_client, way, way.filled(OWN), STRANGER)[0] != 404 for way in ways)
    assert ways


def test_the_answer_may_not_depend_on_the_case_of_an_id(app_client):
    """An id with a trailing space is another id, also for the owner."""
    way = Way("GET", "/v1/prediction/{prediction_id}", frozenset({"prediction_id"}))

    assert response_to(app_client, way, way.filled(f"{OWN} "), OWNER)[0] == 404


@pytest.mark.parametrize("path", sorted(SECRETS))
def test_a_secret_is_a_keys_own(app_client, path):
    """Each key gets the same secret each time, and never another key's."""
    way = Way("GET", path, frozenset())
    owners, again, strangers = (
        response_to(app_client, way, path, k) for k in (OWNER, OWNER, STRANGER)
    )

    assert owners[0] == strangers[0] == 200
    assert owners[2] == again[2] != strangers[2]


@pytest.mark.parametrize("path", sorted(COUNTS))
def test_counts_name_nobody(app_client, path):
    """Counts over all keys contain no prediction and no key, not even for the owner."""
    way = Way("GET", path, frozenset())
    counts = response_to(app_client, way, path, OWNER)[2].decode()

    assert OWN not in counts
    assert hash_key(OWNER)[:16] not in counts

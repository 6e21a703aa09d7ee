"""Deletion on a real Redis and real files: nothing of a prediction is left, whatever it was doing."""

import json
import threading
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from app.keys import KeyRing
from app.main import create_app
from app.predictions.accounts import Limits
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Status
from app.predictions.queue import Queues
from app.predictions.redis_keys import EXPIRY, record_key
from app.predictions.revocation import delete_all
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.settings import Settings
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.outbox import Outbox
from tests.support.api_client import data_uri, image_file
from tests.support.fakes import NOW, ScriptedEngine, eventually, fast_clock, make_due
from tests.support.worker_harness import WorkerHarness

MARK = "zebra-in-a-teacup"
REFERENCE = image_file(colour="salmon")
ORDER = {
    "model": "flux-2-klein-4b-edit",
    "input": {"prompt": f"a {MARK}", "image_urls": [data_uri(REFERENCE)], "previews": True},
    "webhook_url": f"https://example.com/{MARK}",
    "webhook_secret": f"secret-of-{MARK}",
}
HEADERS = {"Idempotency-Key": f"key-of-{MARK}"}


class System:
    """An API and the parts of a worker, in this process."""

    def __init__(self, connection, redis_server, folder, **settings):
        self.connection = connection
        self.folder = folder
        ring = KeyRing(connection, frozenset())
        self.keys = [ring.create(name, None, Limits())[1] for name in "ab"]
        WorkerRegistry(connection).announce(
            Worker(
                name="w",
                checkpoint=CheckpointKind.DISTILLED,
                weights="x",
                revision="1",
                seen_at=2**40,
            )
        )
        self.engine = ScriptedEngine(steps=4)
        self.rig = WorkerHarness(connection, folder, self.engine, clock=lambda: 0.0)
        self.app = create_app(
            Settings(redis_url=redis_server.url, data=folder, _env_file=None, **settings)
        )

    def client(self):
        return TestClient(self.app, headers={"X-API-Key": self.keys[0]})

    def everything(self):
        """Return all that Redis and the files hold, keys and names included."""
        found = []
        for key in self.connection.scan_iter(count=1000):
            found.append(key)
            match self.connection.type(key):
                case b"string":
                    found.append(self.connection.get(key))
                case b"hash":
                    found += [
                        part for pair in self.connection.hgetall(key).items() for part in pair
                    ]
                case b"zset":
                    found += self.connection.zrange(key, 0, -1)
                case b"set":
                    found += self.connection.smembers(key)
                case b"list":
                    found += self.connection.lrange(key, 0, -1)
        for path in self.folder.rglob("*"):
            found.append(str(path.relative_to(self.folder)).encode())
            if path.is_file():
                found.append(path.read_bytes())
        return found

    def holds(self, text):
        return [part for part in self.everything() if text in part]


@pytest.fixture
def system(connection, redis_server, tmp_path):
    system = System(connection, redis_server, tmp_path)
    yield system
    system.rig.close()


def create(client, **headers):
    answer = client.post("/v1/prediction", json=ORDER, headers=HEADERS | headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def test_nothing_is_left_of_deleted_prediction(system):
    """Record, images, preview, webhook history and idempotency key are deleted at once, for their own key alone."""
    other_key = {"X-API-Key": system.keys[1]}
    with system.client() as client:
        prediction_id = create(client)
        path = f"/v1/prediction/{prediction_id}"
        system.rig.work()
        ended = system.rig.ended(prediction_id)
        Outbox(system.connection, system.rig.store, ()).record(
            ended, DeliveryAttempt(at=NOW, status_code=500, response=MARK)
        )
        [file] = [output.key for output in ended.outputs]
        assert system.holds(MARK.encode())
        assert system.holds(REFERENCE)
        assert system.holds(file.encode())

        foreign, unknown = (
            client.delete(at, headers=other_key) for at in (path, "/v1/prediction/unknown")
        )
        assert (foreign.status_code, foreign.json()) == (404, unknown.json())
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404
        assert client.delete(path).status_code == 404

    for trace in (MARK.encode(), REFERENCE, prediction_id.encode()):
        assert system.holds(trace) == []


def test_waiting_prediction_is_cancelled_and_deleted(system):
    """A prediction in line leaves it, and its idempotency key may be used for another request."""
    with system.client() as client:
        prediction_id = create(client)

        assert client.delete(f"/v1/prediction/{prediction_id}").status_code == 204
        assert system.holds(MARK.encode()) == system.holds(prediction_id.encode()) == []
        assert create(client) != prediction_id


def test_running_prediction_is_cancelled_and_deleted(system):
    """The attempt stops at its next step and leaves no file. Its worker runs the next prediction."""
    with system.client() as client:
        prediction_id = create(client)
        deleted = threading.Event()

        def delete(_order):
            if not deleted.is_set():
                assert client.delete(f"/v1/prediction/{prediction_id}").status_code == 204
                deleted.set()

        system.engine.act = delete
        system.rig.work()
        eventually(lambda: not system.rig.leases.held)

        assert system.holds(MARK.encode()) == []
        assert system.rig.files() == []
        after = create(client)
        system.rig.work()
        assert system.rig.ended(after).outputs


def test_deletion_in_batch_ends_one(connection, tmp_path):
    """A prediction that is deleted while its batch runs costs its batch mate nothing."""
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(), batch=2, clock=fast_clock())
    rig.add("p")
    rig.add("q", "a blue house")

    def delete(index, step, _steps):
        if (index, step) == (0, 1):
            rig.store.delete(rig.store.change("p", lambda p, now: p.cancel(now)))

    rig.before_step = delete
    rig.work()
    ended = rig.ended("q")
    rig.close()

    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 1)
    assert rig.files() == [ended.outputs[0].key]


def test_late_files_of_deleted_prediction_are_deleted(system):
    """Files that a lost attempt stores after the deletion are deleted later, and then its id is forgotten."""
    with system.client() as client:
        prediction_id = create(client)
        system.rig.store.change(prediction_id, lambda p, now: p.claim("lost", now))
        client.delete(f"/v1/prediction/{prediction_id}")
        system.rig.storage.put(f"{prediction_id}/lost/0.png", b"late")
        make_due(system.connection, prediction_id, EXPIRY)
        Maintenance(system.rig.store, Queues(system.connection), system.rig.storage).expire()

    assert system.rig.files() == []
    assert system.holds(prediction_id.encode()) == []


def test_retention_of_request_is_kept(system):
    """X-Retention decides when the courier deletes, and how long the links of the images are valid."""
    with system.client() as client:
        prediction_id = create(client, **{"X-Retention": "60"})
        system.rig.work()
        ended = system.rig.ended(prediction_id)
        due_s = system.connection.zscore(EXPIRY, prediction_id) / 1000
        refused = client.post("/v1/prediction", json=ORDER, headers={"X-Retention": "9e6"})
        nonsense = client.post("/v1/prediction", json=ORDER, headers={"X-Retention": "0"})

    assert ended.retention == timedelta(seconds=60)
    assert due_s == pytest.approx(ended.finished_at.timestamp() + 60, abs=0.01)
    assert (refused.status_code, nonsense.status_code) == (400, 400)
    assert refused.json()["details"] == "X-Retention: send at most 604800 seconds"


def test_prompt_is_forgotten_at_end(connection, redis_server, tmp_path):
    """With KLEIN_KEEP_PROMPTS=false the prompt is gone once the prediction has ended. The engine had it."""
    system = System(connection, redis_server, tmp_path, keep_prompts=False)
    order = {"model": "flux-2-klein-4b-text-to-image", "input": {"prompt": f"a {MARK}", "seed": 7}}
    with system.client() as client:
        made, cancelled = (client.post("/v1/prediction", json=order).json()["id"] for _ in "ab")
        client.post(f"/v1/prediction/{cancelled}/cancel")
        assert system.holds(MARK.encode())
        system.rig.work()
        system.rig.ended(made)
        shown = client.get(f"/v1/prediction/{made}").json()

    system.rig.close()
    assert [order.prompt for order in system.engine.orders] == [f"a {MARK}"]
    assert shown["input"] == {"prompt": "", "seed": 7}
    assert shown["status"] == "success"
    assert system.holds(MARK.encode()) == []
    assert MARK not in json.dumps(shown)


def test_all_of_a_key_are_deleted_also_unreadable_ones(system):
    """`klein keys revoke --delete` leaves nothing of a key, whatever its records hold."""
    with system.client() as client:
        readable, damaged = create(client), create(client, **{"Idempotency-Key": "another"})
        key_id = system.rig.store.get(readable).key_id
        system.connection.set(record_key(damaged), MARK)

        deleted = delete_all(system.connection, system.rig.store, system.rig.storage, key_id)

    assert deleted == 1
    assert system.holds(MARK.encode()) == []

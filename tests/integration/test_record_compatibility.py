"""Processes of two versions on one Redis, as during an upgrade host by host: an older one keeps what it does not know."""

import json
from dataclasses import dataclass, replace

from app.predictions.catalog import parameters_of
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Output, Prediction, Status, Webhook
from app.predictions.redis_keys import WEBHOOKS_DUE, record_key
from app.predictions.worker_registry import WORKERS, Worker, WorkerRegistry
from app.records import Records
from app.webhooks.lines import LINE_CHECK
from tests.support.courier import Post
from tests.support.fakes import NOW, a_prediction, a_store

OUTPUTS = (Output(key="p/a/0.png", width=64, height=48),)
WEBHOOK = Webhook(url="https://a.test", secret="s", sends_secret=False, base="https://b.test")


@dataclass(frozen=True, kw_only=True)
class OlderWebhook:
    """A webhook from before it had a dialect and `sends_secret`."""

    url: str
    secret: str | None = None
    base: str


@dataclass(frozen=True, kw_only=True)
class OlderPrediction:
    """A prediction of an early version."""

    id: str
    status: Status = Status.QUEUED
    outputs: tuple[Output, ...] = ()
    webhook: OlderWebhook | None = None


def test_older_version_keeps_unknown_fields():
    """Fields that an older version's classes lack are kept, at every depth, after it changed the record."""
    newer, older = Records(Prediction), Records(OlderPrediction)
    before = a_prediction(webhook=WEBHOOK, reference_keys=("p/in/0.png",), step=3)
    record = newer.write(before)
    older_record = older.read(record)
    record = older.write(replace(older_record, status=Status.RUNNING, outputs=OUTPUTS), over=record)
    older_record = older.read(record)
    assert older_record.webhook is not None
    moved = replace(older_record.webhook, url="https://c.test")
    record = older.write(replace(older_record, webhook=moved), over=record)

    expected = replace(before, status=Status.RUNNING, outputs=OUTPUTS)
    assert newer.read(record) == replace(expected, webhook=replace(WEBHOOK, url="https://c.test"))


def test_record_of_newer_version_keeps_its_fields(connection):
    """A record that this version claims, advances and ends keeps what a newer version wrote into it, and ends correctly."""
    store = a_store(connection)
    store.add(a_prediction(webhook=WEBHOOK))
    record = json.loads(connection.get(record_key("p")))
    record |= {"novelty": [1], "webhook": record["webhook"] | {"novelty": "a"}}
    connection.set(record_key("p"), json.dumps(record))

    store.change("p", lambda p, now: p.claim("a", now))
    store.change("p", lambda p, _now: p.advance("a", 1, 4))
    ended = store.change("p", lambda p, now: p.succeed("a", OUTPUTS, (), now))

    stored = json.loads(connection.get(record_key("p")))
    assert (stored["novelty"], stored["webhook"]["novelty"]) == ([1], "a")
    assert store.get("p") == ended
    assert ended.status is Status.SUCCEEDED


def test_unknown_fields_in_lists_are_kept():
    """An item of a list keeps its unknown fields when it changes and when the list grows. A removed item is gone."""
    records = Records(Prediction)
    first, second = OUTPUTS[0], replace(OUTPUTS[0], key="second.png")
    written = json.loads(records.write(a_prediction(outputs=(first, second))))
    for number, output in enumerate(written["outputs"]):
        output["novelty"] = number
    changed = replace(first, width=first.width + 1)

    def novelties(*outputs):
        after = a_prediction(outputs=outputs)
        record = records.write(after, over=json.dumps(written).encode())
        assert records.read(record) == after
        return [output.get("novelty") for output in json.loads(record)["outputs"]]

    assert novelties(changed, second) == [0, 1]
    assert novelties(changed, second, first) == [0, 1, None]
    assert novelties(changed) == [0]


def test_known_fields_are_written():
    """Known fields that are changed, emptied or made longer are written as the value says."""
    records = Records(Prediction)
    before = a_prediction(notes=("a",), input={"prompt": "x", "seed": 1}, not_before=NOW)
    written = json.loads(records.write(before)) | {"novelty": 1}
    after = replace(before, notes=("b", "c"), input={"prompt": "y"}, not_before=None)
    record = records.write(after, over=json.dumps(written).encode())

    assert records.read(record) == after
    assert json.loads(record)["novelty"] == 1


def test_announcement_of_newer_worker_is_read(connection):
    """An older api lists a worker whose announcement has unknown fields."""
    seen_at = WorkerRegistry(connection).now()
    worker = Worker(name="w", checkpoint=CheckpointKind.BASE, weights="a", revision="b", seen_at=seen_at)  # fmt: skip
    announcement = json.loads(Records(Worker).write(worker)) | {"novelty": 1}
    connection.hset(WORKERS, "w", json.dumps(announcement))

    assert WorkerRegistry(connection).present() == [worker]


def test_record_of_klein_0_1_is_read(connection):
    """A record without parameters, with its reference keys under their old name, is read and generates the same."""
    store = a_store(connection)
    prediction = store.add(a_prediction(reference_keys=("p/in-0.png",)))
    record = json.loads(connection.get(record_key("p")))
    del record["parameters"]
    connection.set(record_key("p"), json.dumps(record))
    older = store.get("p")

    assert record["references"] == ["p/in-0.png"]
    assert older == replace(prediction, parameters=None)
    assert parameters_of(older) == prediction.parameters


def test_record_keeps_parameters_through_klein_0_1():
    """Parameters that an older version does not know are kept after it changed the record."""
    newer, older = Records(Prediction), Records(OlderPrediction)
    before = a_prediction()
    record = newer.write(before)
    record = older.write(replace(older.read(record), status=Status.RUNNING), over=record)

    assert newer.read(record) == replace(before, status=Status.RUNNING)


def test_courier_without_lines_delivers_what_waits_in_line(connection):
    """A delivery in line stays in the set that an older courier reads, which offers it there within minutes."""
    post = Post(connection)
    post.owe("http://127.0.0.1:1/")
    planned_ms = connection.zscore(WEBHOOKS_DUE, "p")
    post.outbox.line_up(1)

    waits_ms = connection.zscore(WEBHOOKS_DUE, "p") - planned_ms
    assert 0 < waits_ms < LINE_CHECK.total_seconds() * 1000 + 60_000


def test_delivery_of_courier_without_lines_leaves_its_line(connection):
    """A delivery in line that an older courier has made is not made again."""
    post = Post(connection)
    for prediction_id in ("p", "q"):
        post.owe("http://127.0.0.1:1/", prediction_id)
    post.outbox.line_up(2)
    connection.zrem(WEBHOOKS_DUE, "p")  # as an older courier does at the end

    taken = post.outbox.take()
    assert taken is not None
    assert taken.id == "q"
    assert post.outbox.take() is None

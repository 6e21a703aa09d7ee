"""Requests that would fill Redis: fields that no model has, and prompts of the longest kind."""

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from app.predictions.read_slots import MAX_LISTS_PER_KEY
from app.predictions.record_size import RECORD_MAX_BYTES
from tests.abuse.parts import ATTACKER, VICTIM
from tests.support.api_client import TEXT, ended, order, until

JUNK = "x" * 300_000
REPLICATE = "/v1/models/black-forest-labs/flux-2-klein-4b/predictions"
GENERATIONS = {"prompt": "a red circle", "size": "64x64"}
LONGEST = "\U0001f534" * 10_000  # four bytes a character
WITH_JUNK = {
    "eachlabs": ("/v1/prediction", order(junk=JUNK) | {"junk": JUNK, "version": JUNK}),
    "eachlabs, size": (
        "/v1/prediction",
        order(image_size={"width": 64, "height": 64, "junk": JUNK}),
    ),
    "replicate": (
        REPLICATE,
        {"input": {"prompt": "a red circle", "junk": JUNK}, "junk": JUNK},
    ),
    "openai": ("/v1/images/generations", GENERATIONS | {"user": JUNK, "metadata": {"a": JUNK}}),
}


def record_bytes(parts):
    """Return the sizes of all records of predictions."""
    with parts.system.connect() as connection:
        return [connection.strlen(key) for key in connection.scan_iter("klein:prediction:*")]


def sent_bytes(connection):
    """Return how much Redis has sent since its start."""
    return connection.info("stats")["total_net_output_bytes"]


@pytest.mark.parametrize("name", WITH_JUNK)
def test_unknown_fields_are_not_kept(parts, name):
    """A request with unknown fields is accepted, and no record contains them."""
    path, body = WITH_JUNK[name]
    with parts.client(ATTACKER) as attacker:
        answer = attacker.post(path, json=body)

    assert answer.status_code in {200, 201}, answer.text
    assert len(answer.content) < len(JUNK)
    assert max(record_bytes(parts)) < 2048


def test_record_is_bounded(parts):
    """A prompt and a negative prompt of the longest kind are refused together, by the name of a field. Nothing is kept."""
    with parts.client(ATTACKER) as attacker:
        before = len(record_bytes(parts))
        inputs = order(prompt=LONGEST, negative_prompt=LONGEST)
        refused = attacker.post("/v1/prediction", json=inputs)
        accepted = attacker.post("/v1/prediction", json=order(prompt=LONGEST))

    assert refused.status_code == HTTPStatus.BAD_REQUEST
    assert refused.json()["details"][0]["field"] == "prompt"
    assert accepted.status_code == HTTPStatus.OK
    sizes = record_bytes(parts)
    assert len(sizes) == before + 1
    assert max(sizes) <= RECORD_MAX_BYTES


@pytest.mark.parametrize("path", ["/v1/executions?limit=1", "/v1/history?limit=1"])
def test_page_reads_its_records_alone(parts, path):
    """A page of one among a hundred predictions with long prompts makes Redis send a hundredth of them."""
    with parts.client(ATTACKER) as attacker, parts.system.connect() as connection:
        while attacker.get("/v1/executions?limit=1").json()["total_count"] < 100:
            attacker.post("/v1/prediction", json=order(prompt=LONGEST))
        before = sent_bytes(connection)
        attacker.get(path).raise_for_status()
        sent = sent_bytes(connection) - before

    assert sent < 100 * len(LONGEST) * 4 / 2


def test_lists_of_one_key_leave_slots(parts):
    """Of thirty lists at once that a key asks for, some are refused. Another key's list is read meanwhile."""
    with parts.client(ATTACKER) as attacker, parts.client(VICTIM) as victim:
        for _ in range(20):
            attacker.post("/v1/prediction", json=order(prompt=LONGEST))
        with ThreadPoolExecutor(30) as threads:
            answers = [threads.submit(attacker.get, "/v1/history?limit=20") for _ in range(90)]
            served = [victim.get("/v1/history?limit=20").status_code for _ in range(10)]
        codes = [answer.result().status_code for answer in answers]

    assert set(served) == {200}
    assert set(codes) == {200, 429}
    assert codes.count(200) >= MAX_LISTS_PER_KEY


def test_victim_is_served(parts):
    """A prediction of another key ends while all that is in line."""
    with parts.client(VICTIM) as victim:
        created = victim.post("/v1/prediction", json=order(TEXT)).json()["predictionID"]
        assert until(lambda: ended(victim, created), 120) == "success"

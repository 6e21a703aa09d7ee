"""Previews on a real Redis: beside the record that is being drawn, and nowhere else."""

import io

import pytest
from PIL import Image

from app.predictions.redis_keys import preview_key
from app.predictions.store import PREVIEW_KEPT, PREVIEW_MAX_BYTES
from tests.support.fakes import ScriptedEngine, a_prediction, a_store
from tests.support.worker_harness import Rig
from worker.job import generator


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def preview(connection):
    return lambda prediction_id="p": connection.get(preview_key(prediction_id))


def test_a_preview_is_kept_for_a_short_while(store, connection, preview):
    """It lies beside its own record, not in it, and expires by itself."""
    for prediction_id in ("p", "q"):
        store.add(a_prediction(prediction_id))
    before = store.get("p")
    store.store_preview("p", b"small")

    assert (preview(), preview("q")) == (b"small", None)
    assert 0 < connection.ttl(preview_key("p")) <= PREVIEW_KEPT.total_seconds()
    assert store.get("p") == before


@pytest.mark.parametrize(
    "end",
    [
        lambda p, now: p.cancel(now),
        lambda p, now: p.succeed("a", (), (), now),
    ],
)
def test_the_end_deletes_it(store, preview, end):
    """After the end there is no preview, and none can be put there any more."""
    store.add(a_prediction())
    store.change("p", lambda p, now: p.claim("a", now))
    store.store_preview("p", b"small")
    store.change("p", end)
    left = preview()
    store.store_preview("p", b"late")

    assert (left, preview()) == (None, None)


def test_what_is_not_there_has_no_preview(store, preview):
    """Nothing is kept for a prediction that Redis does not know."""
    store.store_preview("p", b"small")

    assert preview() is None


def test_a_large_preview_is_not_kept(store, preview):
    """Redis holds no more than the limit."""
    store.add(a_prediction())
    store.store_preview("p", b"x" * (PREVIEW_MAX_BYTES + 1))

    assert preview() is None


@pytest.mark.parametrize("asked", [True, False])
def test_previews_are_made_for_who_asks(connection, tmp_path, preview, monkeypatch, asked):
    """A prediction that asks has a WebP file while it is drawn; one that does not has none; neither after the end."""
    monkeypatch.setattr(generator, "PROGRESS_S", 0.0)  # the fake's steps take no time
    seen: list[bytes | None] = []
    rig = Rig(connection, tmp_path, ScriptedEngine(lambda _: seen.append(preview())))
    rig.add(previews=asked)
    rig.work()
    rig.ended()
    rig.publisher.close()

    assert rig.engine.orders[0].previews is asked
    assert preview() is None
    if asked:
        assert Image.open(io.BytesIO(seen[0] or b"")).size == (64, 48)
    else:
        assert seen == [None]

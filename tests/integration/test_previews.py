"""Previews on a real Redis: stored beside the record of a running prediction, and nowhere else."""

import io

import pytest
from PIL import Image

from app.predictions.redis_keys import preview_key
from app.predictions.store import PREVIEW_KEPT, PREVIEW_MAX_BYTES
from tests.support.fakes import ScriptedEngine, a_prediction, a_store, fast_clock
from tests.support.worker_harness import WorkerHarness


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def preview(connection):
    return lambda prediction_id="p": connection.get(preview_key(prediction_id))


def test_preview_expires(store, connection, preview):
    """A preview is stored beside its own record, not in it, and expires."""
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
def test_end_deletes_preview(store, preview, end):
    """After the end there is no preview, and none can be stored."""
    store.add(a_prediction(input={"prompt": "x", "previews": True}))
    store.change("p", lambda p, now: p.claim("a", now))
    store.store_preview("p", b"small")
    store.change("p", end)
    left = preview()
    store.store_preview("p", b"late")

    assert (left, preview()) == (None, None)


def test_unknown_prediction_has_no_preview(store, preview):
    """No preview is stored for a prediction that Redis does not know."""
    store.store_preview("p", b"small")

    assert preview() is None


def test_oversized_preview_is_dropped(store, preview):
    """A preview above the size limit is not stored."""
    store.add(a_prediction())
    store.store_preview("p", b"x" * (PREVIEW_MAX_BYTES + 1))

    assert preview() is None


@pytest.mark.parametrize("wants_previews", [True, False])
def test_previews_are_stored_on_request(connection, tmp_path, preview, wants_previews):
    """A running prediction has a WebP preview if its caller wants_previews for it. Otherwise, and after the end, it has none."""
    stored_previews: list[bytes | None] = []
    engine = ScriptedEngine(lambda _: stored_previews.append(preview()))
    rig = WorkerHarness(connection, tmp_path, engine, clock=fast_clock())
    rig.add(previews=wants_previews)
    rig.work()
    rig.ended()
    rig.publisher.close()

    assert rig.engine.orders[0].previews is wants_previews
    assert preview() is None
    if wants_previews:
        assert Image.open(io.BytesIO(stored_previews[0] or b"")).size == (64, 48)
    else:
        assert stored_previews == [None]

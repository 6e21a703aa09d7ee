"""The operations of a caller, on a real Redis and real files."""

import base64
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio
from PIL import Image

from app.images.source import ImageSource
from app.predictions.accounts import Limits
from app.predictions.admission import Admission
from app.predictions.clock import Clock
from app.predictions.errors import (
    AlreadyFinal,
    IdempotencyKeyReused,
    InvalidInput,
    UnknownModel,
    UnknownPrediction,
)
from app.predictions.prediction import Idempotency, Status, Timeouts
from app.predictions.queue import Queues
from app.predictions.rates import Rates
from app.predictions.service import Service
from app.predictions.store import Store
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import Watch
from app.predictions.worker_registry import WorkerRegistry
from app.safe_http import SafeHttp
from app.storage.errors import StorageError
from app.storage.links import Links
from app.storage.local import LocalStorage
from tests.support.fakes import FailingStorage, a_store

TEXT = "flux-2-klein-4b-text-to-image"
EDIT = "flux-2-klein-4b-edit"
LINKS = Links("secret")
TIMEOUTS = Timeouts(queue=timedelta(hours=1), run=timedelta(minutes=1))


def png(side=64):
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


PNG = png()
DATA_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


class Counter:
    """A service and the parts behind it."""

    def __init__(self, connection, readers, folder, strict_inputs=False):
        self.connection = connection
        self.limits = Limits()
        self.folder = folder
        self.storage = FailingStorage(LocalStorage(folder), failures=0)
        self.store = a_store(connection)
        self.readers = readers
        self.strict_inputs = strict_inputs
        self.service = self.service_over(self.store)

    def service_over(self, store):
        """Build a service over a store."""
        return Service(
            store=store,
            watch=Watch(self.readers),
            registry=WorkerRegistry(self.connection),
            storage=self.storage,
            images=ImageSource(self.storage, LINKS, SafeHttp(())),
            clock=Clock(self.connection),
            timeouts=TIMEOUTS,
            admission=Admission(
                rates=Rates(self.connection), limits_of=lambda _: self.limits, queue_limit=None
            ),
            wait_limiter=WaitLimiter(most=10, most_per_key=10),
            strict_inputs=self.strict_inputs,
        )

    def is_untouched(self):
        """Return whether nothing was queued and nothing recorded."""
        return self.connection.keys() == []


@pytest.fixture
async def counter(connection, redis_server, tmp_path):
    async with redis.asyncio.Redis.from_url(redis_server.url) as readers:
        yield Counter(connection, readers, tmp_path)


def refused_fields(refused):
    return [problem.field for problem in refused.value.problems]


def test_a_submitted_prediction_is_queued(counter):
    """A submitted prediction has the input as sent, with a seed, a fresh id and its key's name."""
    first, second = (counter.service.submit("key", TEXT, {"prompt": "x", "n": 1}) for _ in "ab")

    assert counter.store.get(first.id) == first
    assert (first.key_id, first.model, first.status) == ("key", TEXT, Status.QUEUED)
    assert first.input == {"prompt": "x", "n": 1, "seed": first.input["seed"]}
    assert 0 <= first.input["seed"] < 2**32
    assert first.id != second.id
    assert timedelta() <= datetime.now(UTC) - first.created_at < timedelta(seconds=5)
    assert first.timeouts == TIMEOUTS


@pytest.mark.parametrize("seed", [0, -5, 2**63 - 1])
def test_a_given_seed_is_kept(counter, seed):
    """Zero and negative seeds are kept. Only a missing or null seed is replaced by a random one."""
    submit = counter.service.submit

    assert submit("key", TEXT, {"prompt": "x", "seed": seed}).input["seed"] == seed
    assert isinstance(submit("key", TEXT, {"prompt": "x", "seed": None}).input["seed"], int)


def test_what_is_refused_is_not_queued(counter):
    """An invalid input and an unknown model raise, and leave nothing in Redis or the storage."""
    with pytest.raises(InvalidInput):
        counter.service.submit("key", TEXT, {"prompt": ""})
    with pytest.raises(UnknownModel):
        counter.service.submit("key", "nonsense", {"prompt": "x"})
    with pytest.raises(UnknownModel):
        counter.service.submit("key", "flux-2-klein-4b-base-edit", {"prompt": "x"})

    assert counter.is_untouched()
    assert counter.storage.puts == 0


def test_input_images_become_files(counter):
    """A data URI becomes a file that the input names. A URL of this server stays as sent, and its image is copied."""
    counter.storage.put("earlier/0.png", PNG)
    own = LINKS.link("https://klein.test", "earlier/0.png", datetime(2126, 1, 1, tzinfo=UTC))
    submitted = counter.service.submit("key", EDIT, {"prompt": "x", "image_urls": [DATA_URI, own]})

    assert submitted.reference_keys == (f"{submitted.id}/in-0.png", f"{submitted.id}/in-1.png")
    assert submitted.input["image_urls"] == [submitted.reference_keys[0], own]
    assert [counter.storage.get(key) for key in submitted.reference_keys] == [PNG, PNG]


def test_every_bad_image_is_named(counter):
    """Each unusable image is reported by its position, before anything is stored or queued."""
    images = ["data:image/png;base64,AAAA", DATA_URI, "https://elsewhere.test/x.png", "http://[::1"]
    with pytest.raises(InvalidInput) as refused:
        counter.service.submit("key", EDIT, {"prompt": "x", "image_urls": images})

    assert refused_fields(refused) == ["image_urls[0]", "image_urls[2]", "image_urls[3]"]
    assert counter.is_untouched()
    assert counter.storage.puts == 0


def test_a_full_storage_queues_nothing(counter):
    """If an input image cannot be stored the caller gets an error and nothing is queued."""
    counter.storage.failures = 1
    with pytest.raises(StorageError):
        counter.service.submit("key", EDIT, {"prompt": "x", "image_urls": [DATA_URI]})

    assert counter.is_untouched()


IDEMPOTENCY = Idempotency(key="word", fingerprint="an edit")


def test_a_repeated_request_is_not_read_again(counter):
    """A repeated request gets the first prediction, and its images are not read again."""
    edit = {"prompt": "x", "image_urls": [DATA_URI]}
    first = counter.service.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)
    again = counter.service.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)

    assert again == first
    assert counter.storage.puts == 1


def test_a_twin_that_comes_too_late_leaves_no_files(counter):
    """If an equal request is accepted between check and accept, the images of the later one are deleted."""
    edit = {"prompt": "x", "image_urls": [DATA_URI]}
    first = counter.service.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)

    class Blind(Store):
        def find_repeated(self, *_):
            return None

    connection = counter.connection
    blind = Blind(connection, Queues(connection), timedelta(days=7))
    late = counter.service_over(blind)

    assert late.submit("key", EDIT, edit, idempotency=IDEMPOTENCY) == first
    with pytest.raises(IdempotencyKeyReused):
        late.submit("key", EDIT, edit, idempotency=replace(IDEMPOTENCY, fingerprint="another"))
    assert [path.name for path in counter.folder.iterdir()] == [first.id]


async def test_unknown_fields_are_refused_by_setting(connection, redis_server, tmp_path):
    """A strict server names each field that the model does not have."""
    async with redis.asyncio.Redis.from_url(redis_server.url) as readers:
        strict = Counter(connection, readers, tmp_path, strict_inputs=True).service
        with pytest.raises(InvalidInput) as refused:
            strict.submit("key", TEXT, {"prompt": "x", "zoom": 1, "image_urls": []})

        assert refused_fields(refused) == ["image_urls", "zoom"]
        assert strict.submit("key", TEXT, {"prompt": "x", "num_images": 2})


async def test_another_key_sees_nothing(counter):
    """Reading and cancelling with another key raise UnknownPrediction. Waiting takes what `get` returned."""
    submitted = counter.service.submit("key", TEXT, {"prompt": "x"})
    for stranger in ("another", ""):
        with pytest.raises(UnknownPrediction):
            await counter.service.get(stranger, submitted.id)
        with pytest.raises(UnknownPrediction):
            counter.service.cancel(stranger, submitted.id)
        assert history(counter, stranger).total == 0

    assert await counter.service.get("key", submitted.id) == submitted


async def test_a_cancelled_prediction_is_told(counter):
    """A cancel ends the wait of its key, and a second cancel raises."""
    submitted = counter.service.submit("key", TEXT, {"prompt": "x"})
    cancelled = counter.service.cancel("key", submitted.id)

    assert cancelled.status is Status.CANCELLED
    assert await counter.service.wait(submitted, 60) == cancelled
    with pytest.raises(AlreadyFinal):
        counter.service.cancel("key", submitted.id)


def history(counter, key_id):
    now = datetime.now(UTC)
    return counter.service.history(
        key_id,
        since=now - timedelta(days=1),
        until=now + timedelta(minutes=1),
        offset=0,
        limit=10,
    )


def test_the_history_lists_what_a_key_submitted(counter):
    """Each of a key's predictions is in its history."""
    ids = {counter.service.submit("key", TEXT, {"prompt": str(k)}).id for k in range(3)}

    assert {p.id for p in history(counter, "key").predictions} == ids

"""The operations of a caller, on a real Redis and real files."""

import base64
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio
from PIL import Image

from app.connections import open_shared
from app.images.decoders import Decoders
from app.images.scratch import Scratch
from app.images.source import ImageSource
from app.loras.fetch import LoraFetcher
from app.loras.library import Library
from app.predictions.accounts import Limits
from app.predictions.admission import Admission
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.errors import (
    AlreadyFinal,
    IdempotencyKeyReused,
    InvalidInput,
    TooManyRequests,
    UnknownModel,
    UnknownPrediction,
)
from app.predictions.failure import Cause
from app.predictions.history import History
from app.predictions.lora_cache import LoraCache
from app.predictions.lora_catalog import LoraCatalog
from app.predictions.open_deliveries import OpenDeliveries
from app.predictions.prediction import Idempotency, Status, Timeouts, Webhook
from app.predictions.queue import Queues
from app.predictions.rates import Rates
from app.predictions.service import Service
from app.predictions.store import Store
from app.predictions.submission import Submission
from app.predictions.submissions import Submissions
from app.predictions.validation import Validator
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


async def submit(service, key_id, slug, raw_input, **more):
    """Submit a request to a service."""
    return await service.submit(Submission(key_id=key_id, slug=slug, input=raw_input, **more))


class Counter:
    """A service and the parts behind it."""

    def __init__(  # noqa: PLR0913 -- the ways to set up a service
        self,
        connection,
        readers,
        folder,
        strict_inputs=False,
        accepts_unreachable=False,
        is_shared=False,
    ):
        self.connection = connection
        self.limits = Limits()
        self.folder = folder
        self.storage = FailingStorage(LocalStorage(folder), failures=0)
        self.store = a_store(connection)
        self.readers = readers
        self.shared = readers if is_shared else None
        self.strict_inputs = strict_inputs
        self.accepts_unreachable = accepts_unreachable
        self.decoders = Decoders()
        self.scratch = Scratch()
        self.service = self.service_over(self.store)

    def service_over(self, store):
        """Build a service over a store."""
        clock = Clock(self.connection)
        registry = WorkerRegistry(self.connection, clock)
        admission = Admission(
            rates=Rates(self.connection),
            limits_of=lambda _: self.limits,
            queue_limit=None,
            deliveries=OpenDeliveries(self.connection, 2),
        )
        loras = LoraCatalog(
            Library(self.folder / "loras"),
            registry,
            LoraCache(self.connection, self.storage, 2**20),
            LoraFetcher(SafeHttp(()), (), "https://hub", 2**20, self.folder / "fetching"),
        )
        return Service(
            store=store,
            history=History(self.connection, store),
            watch=Watch(self.readers),
            registry=registry,
            storage=self.storage,
            submissions=Submissions(
                store=store,
                validator=Validator(
                    store=store,
                    registry=registry,
                    admission=admission,
                    loras=loras,
                    clock=clock,
                    strict_inputs=self.strict_inputs,
                ),
                storage=self.storage,
                images=ImageSource(self.storage, LINKS, SafeHttp(()), self.decoders),
                scratch=self.scratch,
                timeouts=TIMEOUTS,
                admission=admission,
                loras=loras,
                accepts_unreachable_images=self.accepts_unreachable,
                shared=self.shared,
            ),
            timeouts=TIMEOUTS,
            admission=admission,
            wait_limiter=WaitLimiter(max_waiters=10, max_per_key=10),
            loras=loras,
        )

    async def submit(self, key_id, slug, raw_input, **more):
        """Submit a request."""
        return await submit(self.service, key_id, slug, raw_input, **more)

    def is_untouched(self):
        """Return whether nothing was queued and nothing recorded."""
        return self.connection.keys() == []


@pytest.fixture(params=["thread", "loop"])
async def counter(request, connection, redis_server, tmp_path):
    """A service that accepts submissions of words alone in a thread, or on the event loop."""
    async with open_shared(redis_server.url) as readers:
        counter = Counter(connection, readers, tmp_path, is_shared=request.param == "loop")
        yield counter
        await counter.decoders.close()
        counter.scratch.close()


def refused_fields(refused):
    return [problem.field for problem in refused.value.problems]


async def test_submitted_prediction_is_queued(counter):
    """A submitted prediction has the known fields as sent, a seed, a fresh id and its key's name."""
    first, second = [await counter.submit("key", TEXT, {"prompt": "x", "n": 1}) for _ in "ab"]

    assert counter.store.get(first.id) == first
    assert (first.key_id, first.model, first.status) == ("key", TEXT, Status.QUEUED)
    assert first.input == {"prompt": "x", "seed": first.input["seed"]}
    assert 0 <= first.input["seed"] < 2**32
    assert first.id != second.id
    assert timedelta() <= datetime.now(UTC) - first.created_at < timedelta(seconds=5)
    assert first.timeouts == TIMEOUTS


class NoThread(Store):
    """A store that accepts predictions on the event loop alone."""

    def accept(self, prediction, terms):
        raise AssertionError(prediction, terms)


def a_store_without_threads(connection):
    return NoThread(connection, Queues(connection), timedelta(days=1))


async def test_words_alone_take_no_thread(connection, redis_server, tmp_path, monkeypatch):
    """A submission of words alone is accepted on the event loop, and so is one that is refused there.

    Redis's time and the workers, which nobody has read yet, are read on the event loop too.
    """
    for name in ("time", "hgetall"):
        monkeypatch.setattr(connection, name, None)
    async with open_shared(redis_server.url) as readers:
        counter = Counter(connection, readers, tmp_path, is_shared=True)
        service = counter.service_over(a_store_without_threads(connection))
        counter.limits = Limits(in_flight=1)
        accepted = await submit(service, "key", TEXT, {"prompt": "x"})
        with pytest.raises(TooManyRequests, match="limit of 1 unfinished"):
            await submit(service, "key", TEXT, {"prompt": "x"})

        assert counter.store.get(accepted.id) == accepted
        counter.scratch.close()


@pytest.mark.parametrize(
    ("limits", "more"),
    [
        (Limits(per_minute=10), {}),
        (Limits(), {"webhook": Webhook(url="https://example.com", base="https://klein.test")}),
        (Limits(), {"idempotency": Idempotency(key="a", fingerprint="b")}),
        (Limits(), {"timeouts": Timeouts(queue=TIMEOUTS.queue / 2, run=TIMEOUTS.run)}),
    ],
)
async def test_what_reads_redis_first_takes_a_thread(
    connection, redis_server, tmp_path, limits, more
):
    """A submission for which more than one call of Redis may be needed does not hold up the event loop."""
    async with open_shared(redis_server.url) as readers:
        counter = Counter(connection, readers, tmp_path, is_shared=True)
        service = counter.service_over(a_store_without_threads(connection))
        counter.limits = limits
        with pytest.raises(AssertionError):
            await submit(service, "key", TEXT, {"prompt": "x"}, **more)
        counter.scratch.close()


async def test_many_fields_are_checked_in_a_thread(connection, redis_server, tmp_path):
    """A submission whose check takes long, because it has thousands of fields, does not hold up the event loop."""
    fields = {"prompt": "x"} | dict.fromkeys(map(str, range(5000)), 1)
    async with open_shared(redis_server.url) as readers:
        counter = Counter(connection, readers, tmp_path, is_shared=True)
        service = counter.service_over(a_store_without_threads(connection))
        with pytest.raises(AssertionError):
            await submit(service, "key", TEXT, fields)
        counter.scratch.close()


@pytest.mark.parametrize("seed", [0, -5, 2**63 - 1])
async def test_seed_of_caller_is_kept(counter, seed):
    """Zero and negative seeds are kept. Only a missing or null seed is replaced by a random one."""
    kept = await counter.submit("key", TEXT, {"prompt": "x", "seed": seed})
    replaced = await counter.submit("key", TEXT, {"prompt": "x", "seed": None})

    assert kept.input["seed"] == seed
    assert isinstance(replaced.input["seed"], int)


async def test_refused_request_is_not_queued(counter):
    """An invalid input and an unknown model raise, and leave nothing in Redis or the storage."""
    with pytest.raises(InvalidInput):
        await counter.submit("key", TEXT, {"prompt": ""})
    with pytest.raises(UnknownModel):
        await counter.submit("key", "nonsense", {"prompt": "x"})
    with pytest.raises(UnknownModel):
        await counter.submit("key", "flux-2-klein-4b-base-edit", {"prompt": "x"})

    assert counter.is_untouched()
    assert counter.storage.puts == 0


async def test_input_images_are_stored(counter):
    """A data URI becomes a file that the input names. A URL of this server stays as sent, and its image is copied."""
    counter.storage.put("earlier/0.png", PNG)
    own = LINKS.link("https://klein.test", "earlier/0.png", datetime(2126, 1, 1, tzinfo=UTC))
    submitted = await counter.submit("key", EDIT, {"prompt": "x", "image_urls": [DATA_URI, own]})

    assert submitted.reference_keys == (f"{submitted.id}/in-0.png", f"{submitted.id}/in-1.png")
    assert submitted.input["image_urls"] == [submitted.reference_keys[0], own]
    assert [counter.storage.get(key) for key in submitted.reference_keys] == [PNG, PNG]


async def test_every_invalid_image_is_named(counter):
    """Each unusable image is reported by its position, before anything is stored or queued."""
    images = ["data:image/png;base64,AAAA", DATA_URI, "https://elsewhere.test/x.png", "http://[::1"]
    with pytest.raises(InvalidInput) as refused:
        await counter.submit("key", EDIT, {"prompt": "x", "image_urls": images})

    assert refused_fields(refused) == ["image_urls[0]", "image_urls[2]", "image_urls[3]"]
    assert counter.is_untouched()
    assert counter.storage.puts == 0


async def test_unreachable_image_may_be_accepted(connection, redis_server, tmp_path):
    """Where the setting says so, the prediction fails at once, names the image and leaves no place in line. A damaged one is refused."""
    async with redis.asyncio.Redis.from_url(redis_server.url) as readers:
        counter = Counter(connection, readers, tmp_path, accepts_unreachable=True)
        urls = [DATA_URI, "http://10.0.0.1/x.png"]
        edit = {"prompt": "x", "image_urls": urls}
        failed = await submit(counter.service, "key", EDIT, edit)
        damaged = {"prompt": "x", "image_urls": ["data:image/png;base64,AAAA", urls[1]]}
        with pytest.raises(InvalidInput):
            await submit(counter.service, "key", EDIT, damaged)

    assert failed.status is Status.FAILED
    assert failed.failure is not None
    assert failed.failure.cause is Cause.INPUT_UNREACHABLE
    assert failed.failure.message.startswith("image_urls[1]: the image could not be fetched")
    assert failed.input["image_urls"] == [f"{failed.id}/in-0.png", urls[1]]
    assert counter.store.take_next(CheckpointKind.DISTILLED, "owner") is None
    assert counter.store.count_open() == 0


async def test_full_storage_queues_nothing(counter):
    """If an input image cannot be stored the caller gets an error and nothing is queued."""
    counter.storage.failures = 1
    with pytest.raises(StorageError):
        await counter.submit("key", EDIT, {"prompt": "x", "image_urls": [DATA_URI]})

    assert counter.is_untouched()


IDEMPOTENCY = Idempotency(key="word", fingerprint="an edit")


async def test_repeated_request_reads_no_images(counter):
    """A repeated request gets the first prediction, and its images are not read again."""
    edit = {"prompt": "x", "image_urls": [DATA_URI]}
    first = await counter.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)
    again = await counter.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)

    assert again == first
    assert counter.storage.puts == 1


async def test_late_repeated_request_leaves_no_files(counter):
    """If an equal request is accepted between check and accept, the images of the later one are deleted."""
    edit = {"prompt": "x", "image_urls": [DATA_URI]}
    first = await counter.submit("key", EDIT, edit, idempotency=IDEMPOTENCY)

    class Blind(Store):
        def find_repeated(self, *_):
            return None

    connection = counter.connection
    blind = Blind(connection, Queues(connection), timedelta(days=7))
    late = counter.service_over(blind)

    assert await submit(late, "key", EDIT, edit, idempotency=IDEMPOTENCY) == first
    with pytest.raises(IdempotencyKeyReused):
        await submit(
            late, "key", EDIT, edit, idempotency=replace(IDEMPOTENCY, fingerprint="another")
        )
    assert [path.name for path in counter.folder.iterdir()] == [first.id]


async def test_strict_inputs_refuse_unknown_fields(connection, redis_server, tmp_path):
    """A strict server names each field that the model does not have."""
    async with redis.asyncio.Redis.from_url(redis_server.url) as readers:
        strict = Counter(connection, readers, tmp_path, strict_inputs=True).service
        with pytest.raises(InvalidInput) as refused:
            await submit(strict, "key", TEXT, {"prompt": "x", "zoom": 1, "image_urls": []})

        assert refused_fields(refused) == ["image_urls", "zoom"]
        assert await submit(strict, "key", TEXT, {"prompt": "x", "num_images": 2})


async def test_another_key_sees_nothing(counter):
    """Reading and cancelling with another key raise UnknownPrediction. Waiting takes what `get` returned."""
    submitted = await counter.submit("key", TEXT, {"prompt": "x"})
    for other_key in ("another", ""):
        with pytest.raises(UnknownPrediction):
            await counter.service.get(other_key, submitted.id)
        with pytest.raises(UnknownPrediction):
            counter.service.cancel(other_key, submitted.id)
        assert history(counter, other_key).total == 0

    assert await counter.service.get("key", submitted.id) == submitted


async def test_cancel_ends_wait(counter):
    """A wait that begins with an older state returns the cancelled prediction, and a second cancel raises."""
    submitted = await counter.submit("key", TEXT, {"prompt": "x"})
    cancelled = counter.service.cancel("key", submitted.id)

    assert cancelled.status is Status.CANCELLED
    assert await counter.service.wait(submitted, 0.1) == cancelled
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


async def test_history_lists_predictions_of_key(counter):
    """Each of a key's predictions is in its history."""
    ids = {(await counter.submit("key", TEXT, {"prompt": str(k)})).id for k in range(3)}

    assert {p.id for p in history(counter, "key").predictions} == ids

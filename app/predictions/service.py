"""Implements the operations of every dialect: submit, get, wait, follow, cancel, delete, history, models, files."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from app.held import release_held, take_turn_again
from app.predictions.admission import Admission
from app.predictions.catalog import MODELS, Model, find_model
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import AlreadyFinal, UnknownPrediction
from app.predictions.history import History
from app.predictions.lora_catalog import ListedLora, LoraCatalog
from app.predictions.page import Page
from app.predictions.prediction import Output, Prediction, Timeouts
from app.predictions.store import Store
from app.predictions.submission import Submission
from app.predictions.submissions import Guard, Submissions, unguarded
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.waiter import Idle, until_woken
from app.predictions.watch import FAR_S, Watch
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.storage import Storage
from app.turns import Turns

STREAM_TURNS = 8, 2  # event streams that are given a state at once, and those of one key
PLACES_PER_S = 20  # that the streams of one key show; many streams show theirs less often


class Service:
    """The operations of every dialect. Routes use these methods and nothing behind them."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        *,
        store: Store,
        history: History,
        watch: Watch,
        registry: WorkerRegistry,
        storage: Storage,
        submissions: Submissions,
        timeouts: Timeouts,
        admission: Admission,
        wait_limiter: WaitLimiter,
        loras: LoraCatalog,
    ) -> None:
        self._store = store
        self._history = history
        self._watch = watch
        self._registry = registry
        self._storage = storage
        self._submissions = submissions
        self._admission = admission
        self._wait_limiter = wait_limiter
        self._loras = loras
        self._stream_turns = Turns(*STREAM_TURNS, within_s=None)
        self.timeouts = timeouts  # the default, and the longest that a caller may ask for

    async def submit(self, submission: Submission, guard: Guard = unguarded) -> Prediction:
        """Accept a request. See `Submissions.submit`."""
        return await self._submissions.submit(submission, guard)

    async def get(self, key_id: str, prediction_id: str) -> Prediction:
        """Read a prediction of this key. Raises UnknownPrediction or Unavailable."""
        return own_prediction(key_id, await self._watch.read(prediction_id))

    async def wait(
        self, prediction: Prediction, timeout: float | None, idle: Idle = until_woken
    ) -> Prediction:
        """Return a prediction, just read, once it is final, or as it is after `timeout` seconds (None means no limit).

        Many waiters of a key that end at once take turns. `idle` is awaited meanwhile, and may raise to end the wait. Raises
        ShuttingDown if there is no limit and this process is shutting down.
        """
        release_held()
        ended = await self._watch.wait(prediction.id, timeout, known=prediction, idle=idle)
        await take_turn_again()
        return ended

    def follow(self, prediction: Prediction, again_s: float = FAR_S) -> AsyncGenerator[Prediction]:
        """Yield a prediction as it is now and after each change, until it is final, and about every `again_s` seconds while it waits.

        The streams of a key take turns, so that many of them delay only each other. The caller holds one of the key's places
        for waiters (`wait_slot`). Ends early when this process is shutting down. Raises UnknownPrediction or Unavailable.
        """
        key_id = prediction.key_id
        return self._watch.follow(
            prediction.id,
            lambda: max(again_s, self._wait_limiter.waiting[key_id] / PLACES_PER_S),
            partial(self.stream_turn, key_id),
        )

    def stream_turn(self, key_id: str) -> AbstractAsyncContextManager[None]:
        """Wait for the key's turn to prepare an event of a stream, and hold it while the body runs. Do not nest it."""
        return self._stream_turns.turn(key_id)

    async def preview(self, prediction: Prediction) -> bytes | None:
        """Read the latest preview, a WebP file, or None if there is none. Raises Unavailable."""
        async with self.stream_turn(prediction.key_id):
            return await self._watch.preview(prediction.id)

    def wait_slot(self, key_id: str) -> AbstractContextManager[None]:
        """Hold one of the key's places for a waiter while the body runs. Raises TooManyRequests."""
        return self._wait_limiter.slot(key_id)

    def cancel(self, key_id: str, prediction_id: str) -> Prediction:
        """Cancel a prediction of this key. Raises UnknownPrediction, AlreadyFinal or Unavailable."""
        return self._store.change(
            prediction_id, lambda p, now: own_prediction(key_id, p).cancel(now)
        )

    def delete(self, key_id: str, prediction_id: str) -> None:
        """Delete a prediction of this key with its files and its webhook. One that has not ended is cancelled first.

        Raises UnknownPrediction, StorageError or Unavailable.
        """
        try:
            prediction = self.cancel(key_id, prediction_id)
        except AlreadyFinal:
            prediction = own_prediction(key_id, self._store.get(prediction_id))
        self._storage.delete(prediction.id)  # before the record, which maintenance would try again
        self._store.delete(prediction)

    def history(  # noqa: PLR0913 -- one argument a filter
        self,
        key_id: str,
        *,
        since: datetime,
        until: datetime,
        offset: int,
        limit: int,
        matches: Callable[[Prediction], bool] | None = None,
    ) -> Page:
        """Return a page of this key's predictions, newest first. Raises Unavailable."""
        return self._history.page(
            key_id, since=since, until=until, matches=matches, offset=offset, limit=limit
        )

    def served_kinds(self) -> frozenset[CheckpointKind]:
        """Return the checkpoint kinds that workers serve. Raises Unavailable."""
        return self._registry.served()

    def list_served(self) -> list[tuple[Model, str | None]]:
        """List the models that workers serve, with the names of their weights. Raises Unavailable."""
        served = self.served_kinds()
        return [
            (model, self.weights_of(model))
            for model in MODELS.values()
            if model.checkpoint in served
        ]

    def find_model(self, slug: str) -> Model:
        """Return a model that workers serve. Raises UnknownModel or Unavailable."""
        return find_model(slug, self.served_kinds())

    def list_loras(self, key_id: str) -> list[ListedLora]:
        """List the LoRAs that predictions of this key may name. Raises Unavailable."""
        return self._loras.list_all(key_id)

    def weights_of(self, model: Model) -> str | None:
        """Return the name of the weights that serve a model, or None if no worker is ready. Raises Unavailable."""
        return self._registry.weights_of(model.checkpoint)

    def ready_workers(self) -> list[Worker]:
        """List the workers that can take a prediction now. Raises Unavailable."""
        return self._registry.present()

    def read_output(self, output: Output) -> bytes:
        """Read the file of an output. Raises FileMissing or StorageError."""
        return self._storage.get(output.key)

    def locate_file(self, key: str, method: Literal["GET", "HEAD"]) -> Path | str:
        """Return the path or the URL of a stored file, for GET or HEAD. Raises FileMissing or StorageError."""
        return self._storage.locate(key, method)

    def count_create(self, key_id: str) -> None:
        """Count a request against the key's creates a minute. Raises TooManyRequests or Unavailable."""
        self._admission.count(key_id, has_webhook=False)

    @property
    def waiter_count(self) -> int:
        """Count the callers in long polls and event streams of this process."""
        return self._watch.waiter_count

    def release_waiters(self, within_s: float) -> None:
        """Release all waiters: timed waits return now, event streams close, others have `within_s`."""
        self._watch.release_waiters(within_s)


def own_prediction(key_id: str, prediction: Prediction) -> Prediction:
    """Return the prediction if it belongs to the key. Raises UnknownPrediction."""
    if prediction.key_id != key_id:
        raise UnknownPrediction(prediction.id)
    return prediction

"""Implements the operations of every dialect: submit, get, wait, follow, cancel, history, models, files."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from app.images.check import ImageInfo, check_image
from app.images.data_uri import is_data_uri
from app.images.errors import ImageRejected
from app.images.source import ImageSource
from app.logs import log
from app.predictions.accounts import max_cost
from app.predictions.admission import Admission
from app.predictions.catalog import MODELS, Model, draw_seed, find_model
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.errors import (
    FieldProblem,
    IdempotencyKeyReused,
    InvalidInput,
    Refused,
    UnknownPrediction,
)
from app.predictions.page import Page
from app.predictions.prediction import Idempotency, Output, Prediction, Timeouts, Webhook
from app.predictions.store import Store
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import Watch
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import traceparent


class Service:
    """The operations of every dialect; routes use these methods and nothing behind them."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        *,
        store: Store,
        watch: Watch,
        registry: WorkerRegistry,
        storage: Storage,
        images: ImageSource,
        clock: Clock,
        timeouts: Timeouts,
        admission: Admission,
        wait_limiter: WaitLimiter,
        strict_inputs: bool,
    ) -> None:
        self._store = store
        self._watch = watch
        self._registry = registry
        self._storage = storage
        self._images = images
        self._clock = clock
        self._admission = admission
        self._wait_limiter = wait_limiter
        self._strict_inputs = strict_inputs
        self.timeouts = timeouts  # the default, and the longest that a caller may ask for

    def submit(  # noqa: PLR0913 -- all that a caller can say of a request
        self,
        key_id: str,
        slug: str,
        sent: dict[str, Any],
        webhook: Webhook | None = None,
        idempotency: Idempotency | None = None,
        timeouts: Timeouts | None = None,
    ) -> Prediction:
        """Check a request, keep its input images, and queue it; a repeated request gets the first one's.

        Raises UnknownModel, InvalidInput, IdempotencyKeyReused, TooManyRequests, BudgetSpent, StorageError or Unavailable;
        nothing is queued then.
        """
        if idempotency is not None and (first := self._store.find_repeated(key_id, idempotency)):
            return first
        self._admission.count(key_id)
        model = self.find_model(slug)
        checked = model.parse(sent)
        if self._strict_inputs:
            _refuse_unknown(model, sent)
        parameters = model.settle(checked, draw_seed())
        now = self._clock.now()
        self._store.check(key_id, self._admission.terms(key_id, max_cost(parameters, None)), now)
        prediction_id = str(uuid.uuid4())
        images = self._read_images(checked.reference_urls)
        reference_keys = tuple(
            f"{prediction_id}/in-{k}.{info.format}" for k, (info, _) in enumerate(images)
        )
        prediction = Prediction(
            id=prediction_id,
            key_id=key_id,
            model=slug,
            input=_stored_input(sent, parameters.seeds[0], checked.reference_urls, reference_keys),
            created_at=now,
            timeouts=timeouts or self.timeouts,
            reference_keys=reference_keys,
            parameters=parameters,
            webhook=webhook,
            traceparent=traceparent(),
            idempotency=idempotency,
        )
        for key, (_, data) in zip(reference_keys, images, strict=True):
            self._storage.put(key, data)
        try:
            first_size = (images[0][0].width, images[0][0].height) if images else None
            terms = self._admission.terms(key_id, max_cost(parameters, first_size))
            accepted = self._store.add(prediction, terms)
        except (IdempotencyKeyReused, Refused):
            self._delete_references(prediction)
            raise
        if accepted.id != prediction.id:
            self._delete_references(prediction)
        return accepted

    async def get(self, key_id: str, prediction_id: str) -> Prediction:
        """Read a prediction of this key. Raises UnknownPrediction or Unavailable."""
        return own_prediction(key_id, await self._watch.read(prediction_id))

    async def wait(self, prediction: Prediction, timeout: float | None) -> Prediction:
        """Return a prediction once it is final, or as it is after `timeout` seconds (None: no limit).

        Raises ShuttingDown where there is no limit and this process is shutting down.
        """
        return await self._watch.wait(prediction.id, timeout)

    def follow(self, prediction: Prediction) -> AsyncGenerator[Prediction]:
        """Yield a prediction as it is now and after each change, until it is final.

        Ends early when this process is shutting down. Raises UnknownPrediction or Unavailable.
        """
        return self._watch.follow(prediction.id)

    async def preview(self, prediction: Prediction) -> bytes | None:
        """Read the latest preview, a WebP file; None where there is none. Raises Unavailable."""
        return await self._watch.preview(prediction.id)

    def wait_slot(self, key_id: str) -> AbstractContextManager[None]:
        """Hold one of the key's places for a waiter while the body runs. Raises TooManyRequests."""
        return self._wait_limiter.slot(key_id)

    def cancel(self, key_id: str, prediction_id: str) -> Prediction:
        """Cancel a prediction of this key. Raises UnknownPrediction, AlreadyFinal or Unavailable."""
        return self._store.change(
            prediction_id, lambda p, now: own_prediction(key_id, p).cancel(now)
        )

    def history(  # noqa: PLR0913 -- one argument a filter
        self,
        key_id: str,
        *,
        since: datetime,
        until: datetime,
        offset: int,
        limit: int,
        matches: Callable[[Prediction], bool] = lambda _: True,
    ) -> Page:
        """Return a page of this key's predictions, newest first. Raises Unavailable."""
        return self._store.history(
            key_id, since=since, until=until, matches=matches, offset=offset, limit=limit
        )

    def served_kinds(self) -> frozenset[CheckpointKind]:
        """Return the checkpoint kinds that workers serve. Raises Unavailable."""
        return self._registry.served()

    def list_models(self) -> list[Model]:
        """List the models that workers serve. Raises Unavailable."""
        served = self.served_kinds()
        return [model for model in MODELS.values() if model.checkpoint in served]

    def find_model(self, slug: str) -> Model:
        """Return a model that workers serve. Raises UnknownModel or Unavailable."""
        return find_model(slug, self.served_kinds())

    def weights_of(self, model: Model) -> str | None:
        """Return the name of the weights that serve a model; None where no worker is ready. Raises Unavailable."""
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
        self._admission.count(key_id)

    @property
    def waiting(self) -> int:
        """Count the callers in long polls and event streams of this process."""
        return self._watch.waiting

    def release_waiters(self, within_s: float) -> None:
        """Release all waiters: timed waits return now, event streams close, others have `within_s`."""
        self._watch.release_waiters(within_s)

    def _delete_references(self, prediction: Prediction) -> None:
        """Delete the input images of a request that its twin overtook."""
        if not prediction.reference_keys:
            return
        try:
            self._storage.delete(prediction.id)
        except StorageError as exc:
            log.warning("files_not_deleted", prediction=prediction.id, error=str(exc))

    def _read_images(self, urls: tuple[str, ...]) -> list[tuple[ImageInfo, bytes]]:
        images = []
        problems = []
        for k, url in enumerate(urls):
            try:
                data = self._images.read(url)
                images.append((check_image(data), data))
            except ImageRejected as exc:
                problems.append(FieldProblem(field=f"image_urls[{k}]", message=str(exc)))
        if problems:
            raise InvalidInput(*problems)
        return images


def _stored_input(
    sent: dict[str, Any], seed: int, urls: tuple[str, ...], reference_keys: tuple[str, ...]
) -> dict[str, Any]:
    """Return the input as it was sent, with its seed, and storage keys in place of data URIs."""
    stored = sent | {"seed": seed}
    if urls:
        stored["image_urls"] = [
            key if is_data_uri(url) else url for url, key in zip(urls, reference_keys, strict=True)
        ]
    return stored


def own_prediction(key_id: str, prediction: Prediction) -> Prediction:
    """Return the prediction if it belongs to the key. Raises UnknownPrediction."""
    if prediction.key_id != key_id:
        raise UnknownPrediction(prediction.id)
    return prediction


def _refuse_unknown(model: Model, sent: dict[str, Any]) -> None:
    unknown = sorted(set(sent) - set(model.input.model_fields))
    if unknown:
        raise InvalidInput(
            *(FieldProblem(field=name, message="this model has no such field") for name in unknown)
        )

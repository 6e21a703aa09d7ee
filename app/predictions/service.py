"""What any caller can ask of klein, in whatever dialect: submit, get, wait, cancel, list."""

import uuid
from dataclasses import dataclass
from typing import Any

from app.images.check import ImageInfo, check_image
from app.images.data_uri import is_data_uri
from app.images.errors import ImageRejected
from app.images.source import ImageSource
from app.logs import log
from app.predictions.accounts import most_cost
from app.predictions.admission import Admission
from app.predictions.catalog import Model, draw_seed, find_model
from app.predictions.clock import Clock
from app.predictions.errors import (
    FieldProblem,
    InvalidInput,
    KeyReused,
    Refused,
    UnknownPrediction,
)
from app.predictions.inputs import ModelInput
from app.predictions.prediction import Idempotency, Prediction, Timeouts, Webhook
from app.predictions.store import Store
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import Watch
from app.predictions.worker_registry import WorkerRegistry
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import traceparent


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The verbs, over the parts that main wires."""

    store: Store
    watch: Watch
    registry: WorkerRegistry
    storage: Storage
    images: ImageSource
    clock: Clock
    timeouts: Timeouts  # the longest that a caller may ask for, and what all others get
    admission: Admission
    wait_limiter: WaitLimiter
    strict_inputs: bool

    def submit(  # noqa: PLR0913 -- all that a caller can say of a request
        self,
        key_id: str,
        slug: str,
        given: dict[str, Any],
        webhook: Webhook | None = None,
        idempotency: Idempotency | None = None,
        timeouts: Timeouts | None = None,
    ) -> Prediction:
        """Check a request, keep its input images, and queue it; a repeated request gets the first one's.

        Raises UnknownModel, InvalidInput, KeyReused, TooManyRequests, BudgetSpent, StorageError or Unavailable;
        nothing is queued then.
        """
        if idempotency is not None and (first := self.store.recall(key_id, idempotency)):
            return first
        self.admission.count(key_id)
        model = find_model(slug, self.registry.served())
        checked = model.parse(given)
        if self.strict_inputs:
            _refuse_unknown(model, given)
        now = self.clock.now()
        self.store.check(key_id, self.admission.terms(key_id, most_cost(checked, None)), now)
        prediction_id = str(uuid.uuid4())
        images = self._read_references(checked)
        references = tuple(
            f"{prediction_id}/in-{k}.{info.format}" for k, (info, _) in enumerate(images)
        )
        prediction = Prediction(
            id=prediction_id,
            key_id=key_id,
            model=slug,
            input=_kept_input(given, checked, references),
            created_at=now,
            timeouts=timeouts or self.timeouts,
            references=references,
            webhook=webhook,
            traceparent=traceparent(),
            idempotency=idempotency,
        )
        for key, (_, data) in zip(references, images, strict=True):
            self.storage.put(key, data)
        try:
            size = (images[0][0].width, images[0][0].height) if images else None
            terms = self.admission.terms(key_id, most_cost(checked, size))
            accepted = self.store.add(prediction, terms)
        except (KeyReused, Refused):
            self._forget_references(prediction)
            raise
        if accepted.id != prediction.id:
            self._forget_references(prediction)
        return accepted

    async def get(self, key_id: str, prediction_id: str) -> Prediction:
        """Read a prediction of this key. Raises UnknownPrediction or Unavailable."""
        return _own(key_id, await self.watch.read(prediction_id))

    async def wait(self, key_id: str, prediction_id: str, timeout: float | None) -> Prediction:
        """Read a prediction of this key once it is final, or after `timeout` seconds."""
        await self.get(key_id, prediction_id)
        return await self.watch.wait(prediction_id, timeout)

    def cancel(self, key_id: str, prediction_id: str) -> Prediction:
        """Cancel a prediction of this key. Raises UnknownPrediction, AlreadyFinal or Unavailable."""
        return self.store.change(prediction_id, lambda p, now: _own(key_id, p).cancel(now))

    def _forget_references(self, prediction: Prediction) -> None:
        """Delete the input images of a request that its twin overtook."""
        if not prediction.references:
            return
        try:
            self.storage.delete(prediction.id)
        except StorageError as exc:
            log.warning("files_not_deleted", prediction=prediction.id, error=str(exc))

    def _read_references(self, checked: ModelInput) -> list[tuple[ImageInfo, bytes]]:
        images = []
        problems = []
        for k, reference in enumerate(checked.references):
            try:
                data = self.images.read(reference)
                images.append((check_image(data), data))
            except ImageRejected as exc:
                problems.append(FieldProblem(field=f"image_urls[{k}]", message=str(exc)))
        if problems:
            raise InvalidInput(*problems)
        return images


def _kept_input(
    given: dict[str, Any], checked: ModelInput, references: tuple[str, ...]
) -> dict[str, Any]:
    """Keep the input as it was sent, with the seed that was drawn and data URIs as their files."""
    kept = given | {"seed": draw_seed() if checked.seed is None else checked.seed}
    if references:
        kept["image_urls"] = [
            key if is_data_uri(sent) else sent
            for key, sent in zip(references, checked.references, strict=True)
        ]
    return kept


def _own(key_id: str, prediction: Prediction) -> Prediction:
    if prediction.key_id != key_id:
        raise UnknownPrediction(prediction.id)
    return prediction


def _refuse_unknown(model: Model, given: dict[str, Any]) -> None:
    unknown = sorted(set(given) - set(model.input.model_fields))
    if unknown:
        raise InvalidInput(
            *(FieldProblem(field=name, message="this model has no such field") for name in unknown)
        )

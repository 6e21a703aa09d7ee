"""Accepts predictions: checks a request, stores its input images, and queues it."""

import math
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from anyio import to_thread

from app.dns import LookupsBusy
from app.generation_text import Metadata
from app.images.decoders import DecoderUnavailable
from app.images.errors import ImageRejected
from app.images.mask import WHITE_IS_REDRAWN, MaskReading
from app.images.scratch import Scratch, ScratchFull, SentImage
from app.images.source import CheckedImage, ImageSource
from app.logs import log
from app.predictions.accounts import max_cost
from app.predictions.admission import Admission
from app.predictions.catalog import Model, choose_seed, find_model
from app.predictions.clock import Clock
from app.predictions.errors import (
    FieldProblem,
    IdempotencyKeyReused,
    InvalidInput,
    Refused,
    TooManyRequests,
    Unavailable,
)
from app.predictions.input_images import (
    InputImages,
    image_requests,
    stored_input,
    usable_images,
)
from app.predictions.inputs import PROMPT_MAX_LENGTH, ModelInput
from app.predictions.lora_catalog import LoraCatalog
from app.predictions.parameters import Parameters
from app.predictions.place import Place
from app.predictions.prediction import Idempotency, Prediction, Timeouts, Webhook
from app.predictions.slow_threads import SlowThreads
from app.predictions.store import Store
from app.predictions.worker_registry import WorkerRegistry
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import traceparent
from app.turns import NoTurn

T = TypeVar("T")
Guard = Callable[[Coroutine[Any, Any, list[CheckedImage | ImageRejected]]], Awaitable[Any]]
"""Runs the reading of images, and cancels it when nobody waits for the result any more."""
FindPlace = Callable[[Prediction], Place]
"""Returns the place that a prediction would have if it was accepted now."""
OnAccepted = Callable[[Prediction, int, int], None]
"""Called with an accepted prediction and how many come before it."""
RETRY_AFTER_S = 10  # where a key has no slot for a look-up, an image or a LoRA


async def unguarded(reading: Coroutine[Any, Any, T]) -> T:
    """Read the images to the end."""
    return await reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Everything that a caller specifies for a prediction."""

    key_id: str
    slug: str
    input: dict[str, Any]
    images: Mapping[str, SentImage] = field(default_factory=dict)
    """Images that came with the request, by the names that the input has for them."""
    mask_reading: MaskReading = WHITE_IS_REDRAWN
    webhook: Webhook | None = None
    idempotency: Idempotency | None = None
    timeouts: Timeouts | None = None
    retention: timedelta | None = None
    notes: tuple[str, ...] = ()
    """What the prediction shows to the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A checked request, before its images and LoRAs are read."""

    model: Model
    checked: ModelInput
    parameters: Parameters
    created_at: datetime

    @property
    def is_complete(self) -> bool:
        """Return whether there is nothing to fetch."""
        checked = self.checked
        return not (self.parameters.loras or checked.reference_urls or checked.mask)


class Submissions:
    """Accepts requests of all dialects."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        *,
        store: Store,
        registry: WorkerRegistry,
        storage: Storage,
        images: ImageSource,
        scratch: Scratch,
        clock: Clock,
        timeouts: Timeouts,
        admission: Admission,
        loras: LoraCatalog,
        strict_inputs: bool,
        accepts_unreachable_images: bool = False,
        keeps_prompts: bool = True,
        metadata: Metadata = Metadata.NONE,
        find_place: FindPlace | None = None,
        on_accepted: OnAccepted = lambda _prediction, _ahead, _running: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._storage = storage
        self._images = images
        self._scratch = scratch
        self._clock = clock
        self._timeouts = timeouts
        self._admission = admission
        self._loras = loras
        self._strict_inputs = strict_inputs
        self._accepts_unreachable_images = accepts_unreachable_images
        self._keeps_prompts = keeps_prompts
        self._metadata = metadata  # where the caller does not choose
        self._find_place = find_place  # None: a late start is no reason to refuse
        self._on_accepted = on_accepted
        self._storing = SlowThreads()
        self._fetching_loras = SlowThreads()

    async def submit(self, submission: Submission, guard: Guard) -> Prediction:
        """Check a request, store its input images, and queue it; a repeated request gets the first one's.

        Raises UnknownModel, InvalidInput, IdempotencyKeyReused, TooManyRequests, BudgetSpent, StorageError or Unavailable;
        nothing is queued then.
        """
        drafted = await to_thread.run_sync(self._draft_or_accept, submission, traceparent())
        if isinstance(drafted, Prediction):
            return drafted
        try:
            draft = await self._resolve_loras(submission.key_id, drafted)
            requests = image_requests(draft.checked, submission.mask_reading)
            if not requests:
                return await to_thread.run_sync(
                    self._accept, submission, draft, InputImages(), traceparent()
                )
            with self._scratch.folder(submission.key_id) as folder:
                outcomes = await guard(
                    self._images.read_all(requests, submission.images, folder, submission.key_id)
                )
                return await self._storing.run(
                    submission.key_id,
                    self._accept,
                    submission,
                    draft,
                    usable_images(
                        requests, outcomes, accepts_unreachable=self._accepts_unreachable_images
                    ),
                    traceparent(),
                )
        except (LookupsBusy, NoTurn, ScratchFull) as exc:
            raise TooManyRequests(str(exc), retry_after_s=RETRY_AFTER_S) from None
        except DecoderUnavailable as exc:
            raise Unavailable(str(exc)) from exc

    def _draft_or_accept(self, submission: Submission, traced: str | None) -> _Draft | Prediction:
        """Check what can be checked without images and LoRAs. A request that has neither is accepted in the same thread."""
        drafted = self._draft(submission)
        if isinstance(drafted, Prediction) or not drafted.is_complete:
            return drafted
        return self._accept(submission, drafted, InputImages(), traced)

    def _draft(self, submission: Submission) -> _Draft | Prediction:
        """Check what can be checked without the images."""
        key_id, idempotency = submission.key_id, submission.idempotency
        if idempotency is not None and (first := self._store.find_repeated(key_id, idempotency)):
            return first
        self._admission.count(key_id, has_webhook=submission.webhook is not None)
        model = find_model(submission.slug, self._registry.served())
        checked = model.parse(submission.input)
        if self._strict_inputs:
            _refuse_unknown(model, submission.input)
        _refuse_images_as_text(checked, submission.images)
        if problems := self._loras.check(checked.loras, model.checkpoint):
            raise InvalidInput(*problems)
        metadata = Metadata(checked.metadata or self._metadata)
        if metadata is Metadata.FULL and not self._keeps_prompts:
            message = "send none or seed: this server keeps no prompts (KLEIN_KEEP_PROMPTS)"
            raise InvalidInput(FieldProblem(field="metadata", message=message))
        parameters = replace(model.settle(checked, choose_seed()), metadata=metadata)
        now = self._clock.now()
        draft = _Draft(model=model, checked=checked, parameters=parameters, created_at=now)
        if not draft.is_complete:  # else nothing is fetched before `add` checks
            terms = self._admission.terms(key_id, max_cost(parameters, None))
            self._store.check(key_id, terms, now)
        return draft

    async def _resolve_loras(self, key_id: str, draft: _Draft) -> _Draft:
        """Fetch the LoRAs that are not here, in threads of their own."""
        if not draft.parameters.loras:
            return draft
        loras = await self._fetching_loras.run(
            key_id,
            self._loras.resolve,
            key_id,
            draft.parameters.loras,
            draft.model.checkpoint,
        )
        return replace(draft, parameters=replace(draft.parameters, loras=loras))

    def _accept(
        self,
        submission: Submission,
        draft: _Draft,
        inputs: InputImages,
        traced: str | None,
    ) -> Prediction:
        """Store the images and queue the prediction, or end it where an image is unreachable."""
        prediction_id = str(uuid.uuid4())
        keys = inputs.storage_keys(prediction_id)
        has_mask = draft.checked.mask is not None
        reference_keys, mask_key = (keys[:-1], keys[-1]) if has_mask else (keys, "")
        prediction = Prediction(
            id=prediction_id,
            key_id=submission.key_id,
            model=draft.model.slug,
            input=stored_input(
                draft.checked,
                draft.parameters.seeds[0],
                reference_keys,
                mask_key,
                submission.mask_reading,
            ),
            created_at=draft.created_at,
            timeouts=submission.timeouts or self._timeouts,
            retention=submission.retention,
            forgets_prompt=not self._keeps_prompts,
            reference_keys=tuple(reference_keys),
            mask_key=mask_key,
            known_failure=inputs.failure,
            parameters=draft.parameters,
            notes=submission.notes,
            webhook=submission.webhook,
            traceparent=traced,
            idempotency=submission.idempotency,
        )
        self._refuse_late(prediction)
        for key, image in zip(keys, inputs.images, strict=True):
            if image is not None:
                with image.path.open("rb") as file:
                    self._storage.put(key, file)
        try:
            cost = max_cost(draft.parameters, inputs.first_size)
            terms = self._admission.terms(prediction.key_id, cost)
            accepted = self._store.accept(prediction, terms)
        except (IdempotencyKeyReused, InvalidInput, Refused):
            self._delete_references(prediction)
            raise
        if accepted.prediction.id != prediction.id:
            self._delete_references(prediction)
        if accepted.ahead is not None:
            self._on_accepted(prediction, accepted.ahead, accepted.running)
        if inputs.failure is not None:
            return self._store.change(accepted.prediction.id, Prediction.fail_early)
        return accepted.prediction

    def _refuse_late(self, prediction: Prediction) -> None:
        """Raise TooManyRequests where the caller's queue timeout will probably be over before it starts."""
        timeouts = prediction.timeouts
        if self._find_place is None or timeouts is None or timeouts.queue >= self._timeouts.queue:
            return
        wait = self._find_place(prediction).expected_wait
        if wait is not None and wait > timeouts.queue:
            raise TooManyRequests(
                f"the prediction would start in about {wait.total_seconds():.0f} s, after its X-Queue-Timeout of "
                f"{timeouts.queue.total_seconds():g} s; send it again later, or with a longer timeout",
                retry_after_s=math.ceil((wait - timeouts.queue).total_seconds()),
            )

    def _delete_references(self, prediction: Prediction) -> None:
        """Delete the input images of a request that an equal request overtook."""
        if not prediction.reference_keys:
            return
        try:
            self._storage.delete(prediction.id)
        except StorageError as exc:
            log.warning("files_not_deleted", prediction=prediction.id, error=str(exc))


def _refuse_unknown(model: Model, raw_input: dict[str, Any]) -> None:
    unknown = sorted(set(raw_input) - set(model.input.model_fields))
    if unknown:
        raise InvalidInput(
            *(FieldProblem(field=name, message="this model has no such field") for name in unknown)
        )


def _refuse_images_as_text(checked: ModelInput, images: Mapping[str, SentImage]) -> None:
    """Refuse a data URI in a text field. A name stands for it, so its length has not been checked."""
    for name in ("prompt", "negative_prompt"):
        if getattr(checked, name, "") in images:
            message = f"send at most {PROMPT_MAX_LENGTH} characters of text"
            raise InvalidInput(FieldProblem(field=name, message=message))

"""Accepts predictions: checks a request, stores its input images, and queues it."""

import math
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import redis.asyncio
from anyio import to_thread

from app.dns import LookupsBusy
from app.images.decoders import DecoderUnavailable
from app.images.errors import ImageRejected
from app.images.scratch import Scratch, ScratchFull
from app.images.source import CheckedImage, ImageSource
from app.logs import log
from app.predictions.accounts import max_cost
from app.predictions.admission import Admission
from app.predictions.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    Refused,
    TooManyRequests,
    Unavailable,
)
from app.predictions.forecasts import Forecasts
from app.predictions.input_images import (
    InputImages,
    image_requests,
    stored_input,
    usable_images,
)
from app.predictions.lora_catalog import LoraCatalog
from app.predictions.place import Place
from app.predictions.prediction import Prediction, Timeouts
from app.predictions.slow_threads import SlowThreads
from app.predictions.store import Store
from app.predictions.submission import Submission
from app.predictions.validation import ValidatedRequest, Validator
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import traceparent
from app.turns import NoTurn

T = TypeVar("T")
Guard = Callable[[Coroutine[Any, Any, list[CheckedImage | ImageRejected]]], Awaitable[Any]]
"""Runs the reading of images, and cancels it when nobody waits for the result any more."""
FindPlace = Callable[[Prediction], Place]
"""Returns the place that a prediction would have if it was accepted now."""
RETRY_AFTER_S = 10  # if a key has no slot for a look-up, an image or a LoRA
SOON_FIELDS = 100  # of an input; more take too long to check on the event loop


async def unguarded(reading: Coroutine[Any, Any, T]) -> T:
    """Read the images to the end."""
    return await reading


class Submissions:
    """Accepts requests of all dialects."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        *,
        store: Store,
        validator: Validator,
        storage: Storage,
        images: ImageSource,
        scratch: Scratch,
        timeouts: Timeouts,
        admission: Admission,
        loras: LoraCatalog,
        accepts_unreachable_images: bool = False,
        keeps_prompts: bool = True,
        find_place: FindPlace | None = None,
        forecasts: Forecasts | None = None,
        shared: "redis.asyncio.Redis | None" = None,
    ) -> None:
        self._store = store
        self._validator = validator
        self._storage = storage
        self._images = images
        self._scratch = scratch
        self._timeouts = timeouts
        self._admission = admission
        self._loras = loras
        self._accepts_unreachable_images = accepts_unreachable_images
        self._keeps_prompts = keeps_prompts
        self._find_place = find_place  # None means a late start is no reason to refuse
        self._forecasts = forecasts
        self._shared = shared  # for submissions of words alone; None means that all take a thread
        self._storing = SlowThreads()
        self._fetching_loras = SlowThreads()

    async def submit(self, submission: Submission, guard: Guard) -> Prediction:
        """Check a request, store its input images, and queue it. A repeated request returns the first prediction.

        Raises UnknownModel, InvalidInput, IdempotencyKeyReused, TooManyRequests, BudgetSpent, StorageError or Unavailable. Nothing is queued then.
        """
        if self._shared is not None and self._can_accept_soon(submission):
            return await self._accept_soon(self._shared, submission)
        validated = await to_thread.run_sync(self._validate_or_accept, submission, traceparent())
        if isinstance(validated, Prediction):
            return validated
        try:
            request = await self._resolve_loras(submission.key_id, validated)
            images = image_requests(request.checked, submission.mask_reading)
            if not images:
                return await to_thread.run_sync(
                    self._accept, submission, request, InputImages(), traceparent()
                )
            with self._scratch.folder(submission.key_id) as folder:
                outcomes = await guard(
                    self._images.read_all(images, submission.images, folder, submission.key_id)
                )
                return await self._storing.run(
                    submission.key_id,
                    self._accept,
                    submission,
                    request,
                    usable_images(
                        images, outcomes, accepts_unreachable=self._accepts_unreachable_images
                    ),
                    traceparent(),
                )
        except (LookupsBusy, NoTurn, ScratchFull) as exc:
            raise TooManyRequests(str(exc), retry_after_s=RETRY_AFTER_S) from None
        except DecoderUnavailable as exc:
            raise Unavailable(str(exc)) from exc

    def _can_accept_soon(self, submission: Submission) -> bool:
        """Return whether accepting it takes a call or two of Redis and little else."""
        timeouts = submission.timeouts
        return (
            submission.idempotency is None
            and len(submission.input) <= SOON_FIELDS
            and (timeouts is None or timeouts.queue >= self._timeouts.queue)  # see `_refuse_late`
            and self._validator.reads_little(submission)
        )

    async def _accept_soon(
        self, shared: "redis.asyncio.Redis", submission: Submission
    ) -> Prediction:
        """Queue a prediction without files on the event loop: a thread would take longer than everything else."""
        await self._validator.refresh(shared)
        request = self._validator.validate(submission)
        prediction = self._create(submission, request, InputImages(), traceparent())
        terms = self._admission.terms(prediction.key_id, max_cost(request.parameters, None))
        accepted = await self._store.accept_soon(shared, prediction, terms)
        if accepted.ahead is not None and self._forecasts is not None:
            await self._forecasts.remember_soon(prediction, accepted.ahead)
        return accepted.prediction

    def _validate_or_accept(
        self, submission: Submission, traced: str | None
    ) -> ValidatedRequest | Prediction:
        """Validate a request. One without images and LoRAs is accepted in the same thread, a repeated one is found."""
        idempotency = submission.idempotency
        if idempotency is not None and (
            first := self._store.find_repeated(submission.key_id, idempotency)
        ):
            return first
        request = self._validator.validate(submission)
        if request.needs_files:
            return request
        return self._accept(submission, request, InputImages(), traced)

    async def _resolve_loras(self, key_id: str, request: ValidatedRequest) -> ValidatedRequest:
        """Fetch the LoRAs that are not here, in threads of their own."""
        if not request.parameters.loras:
            return request
        loras = await self._fetching_loras.run(
            key_id,
            self._loras.resolve,
            key_id,
            request.parameters.loras,
            request.model.checkpoint,
        )
        return replace(request, parameters=replace(request.parameters, loras=loras))

    def _accept(
        self,
        submission: Submission,
        request: ValidatedRequest,
        inputs: InputImages,
        traced: str | None,
    ) -> Prediction:
        """Store the images and queue the prediction, or end it if an image is unreachable."""
        prediction = self._create(submission, request, inputs, traced)
        self._refuse_late(prediction)
        for key, image in zip(inputs.storage_keys(prediction.id), inputs.images, strict=True):
            if image is not None:
                with image.path.open("rb") as file:
                    self._storage.put(key, file)
        try:
            cost = max_cost(request.parameters, inputs.first_size)
            terms = self._admission.terms(prediction.key_id, cost)
            accepted = self._store.accept(prediction, terms)
        except (IdempotencyKeyReused, InvalidInput, Refused):
            self._delete_references(prediction)
            raise
        if accepted.prediction.id != prediction.id:
            self._delete_references(prediction)
        if accepted.ahead is not None and self._forecasts is not None:
            self._forecasts.remember(prediction, accepted.ahead)
        if inputs.failure is not None:
            return self._store.change(accepted.prediction.id, Prediction.fail_early)
        return accepted.prediction

    def _create(
        self,
        submission: Submission,
        request: ValidatedRequest,
        inputs: InputImages,
        traced: str | None,
    ) -> Prediction:
        """Create the prediction of a request."""
        prediction_id = str(uuid.uuid4())
        keys = inputs.storage_keys(prediction_id)
        has_mask = request.checked.mask is not None
        reference_keys, mask_key = (keys[:-1], keys[-1]) if has_mask else (keys, "")
        return Prediction(
            id=prediction_id,
            key_id=submission.key_id,
            model=request.model.slug,
            input=stored_input(
                request.checked,
                request.parameters.seeds[0],
                reference_keys,
                mask_key,
                submission.mask_reading,
            ),
            created_at=request.created_at,
            timeouts=submission.timeouts or self._timeouts,
            retention=submission.retention,
            forgets_prompt=not self._keeps_prompts,
            reference_keys=tuple(reference_keys),
            mask_key=mask_key,
            known_failure=inputs.failure,
            parameters=request.parameters,
            notes=submission.notes,
            webhook=submission.webhook,
            traceparent=traced,
            idempotency=submission.idempotency,
        )

    def _refuse_late(self, prediction: Prediction) -> None:
        """Raise TooManyRequests if the caller's queue timeout will probably be over before it starts."""
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

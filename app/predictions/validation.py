"""Validates requests: everything that can be checked without fetching an image or a LoRA."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import redis.asyncio

from app.generation_text import Metadata
from app.images.scratch import SentImage
from app.predictions.accounts import max_cost
from app.predictions.admission import Admission
from app.predictions.catalog import Model, choose_seed, find_model
from app.predictions.clock import Clock
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import PROMPT_MAX_LENGTH, ModelInput
from app.predictions.lora_catalog import LoraCatalog
from app.predictions.parameters import Parameters
from app.predictions.store import Store
from app.predictions.submission import Submission
from app.predictions.worker_registry import WorkerRegistry

FILE_FIELDS = {"image_urls", "mask_url", "loras"}  # of the input


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRequest:
    """A request with every default settled, before its images and LoRAs are read."""

    model: Model
    checked: ModelInput
    parameters: Parameters
    created_at: datetime

    @property
    def needs_files(self) -> bool:
        """Whether images or LoRAs must be read before it is accepted."""
        checked = self.checked
        return bool(self.parameters.loras or checked.reference_urls or checked.mask)


class Validator:
    """Validates requests against the model, the limits of the key and the settings of the server."""

    def __init__(  # noqa: PLR0913 -- the parts that main wires
        self,
        *,
        store: Store,
        registry: WorkerRegistry,
        admission: Admission,
        loras: LoraCatalog,
        clock: Clock,
        strict_inputs: bool,
        keeps_prompts: bool = True,
        metadata: Metadata = Metadata.NONE,
    ) -> None:
        """`metadata` applies if the caller does not choose."""
        self._store = store
        self._registry = registry
        self._admission = admission
        self._loras = loras
        self._clock = clock
        self._strict_inputs = strict_inputs
        self._keeps_prompts = keeps_prompts
        self._metadata = metadata

    def reads_little(self, submission: Submission) -> bool:
        """Return whether `validate` reads no files, and nothing from Redis for SOON_S after `refresh`."""
        return (
            submission.webhook is None
            and not submission.input.keys() & FILE_FIELDS
            and not self._admission.counts(submission.key_id)
        )

    async def refresh(self, shared: "redis.asyncio.Redis") -> None:
        """Read together what `validate` needs of Redis and is not fresh. Raises Unavailable."""
        if not (self._registry.is_fresh and self._clock.is_fresh):
            await asyncio.gather(self._registry.refresh(shared), self._clock.refresh(shared))

    def validate(self, submission: Submission) -> ValidatedRequest:
        """Count a create of the key, and check it.

        Raises UnknownModel, InvalidInput, TooManyRequests or BudgetSpent. A request that needs no files is checked
        against the key's open predictions and budget only when the store accepts it.
        """
        key_id = submission.key_id
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
        request = ValidatedRequest(
            model=model, checked=checked, parameters=parameters, created_at=now
        )
        if request.needs_files:  # else nothing is fetched before `accept` checks
            terms = self._admission.terms(key_id, max_cost(parameters, None))
            self._store.check(key_id, terms, now)
        return request


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

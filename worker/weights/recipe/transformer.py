"""Training the transformer and the text encoder together, by flow matching on latents."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from worker.weights.recipe.autocast import autocast
from worker.weights.recipe.edits import (
    ONE_REFERENCE,
    TWO_REFERENCES,
    Example,
    edit_example,
    text_example,
)
from worker.weights.recipe.model import PIPELINE, SHIFT
from worker.weights.recipe.networks import (
    Networks,
    NetworkTraining,
    embed,
    new_networks,
    velocity,
)
from worker.weights.recipe.pool import Batch, Encoder, Pool
from worker.weights.recipe.world import Canvas, Sampler

SQUARE = Canvas()
# The hosted sizes' aspect ratios, at the native area.
OTHER_CANVASES = (
    Canvas(width=144, height=112),
    Canvas(width=112, height=144),
    Canvas(width=176, height=96),
    Canvas(width=96, height=176),
)
OTHER_CANVAS_SHARE = 0.2
# From which share of the way one batch in how many is of edits: which of two things is meant takes longest to learn.
EDIT_EVERY = {0.3: 4, 0.5: 2}
TWO_REFERENCES_SHARE = 0.25
BATCH = 64
CAPACITY = 4096  # of the pool of examples
STEPS = 4  # that the model is to be good at
AT_STEPS_SHARE = 0.75  # of the times; the rest lies anywhere, for those who ask for other steps
LOWEST_U = 0.04  # before the shift; few-step schedules never look below
AVERAGE = 0.997
AGAIN_RATE = 0.5  # of these rates, at which a run goes on from another's end
UNPROMPTED_SHARE = (
    0.15  # of the base model's examples: guidance leads away from what it draws without a prompt
)


def sample_times(
    count: int, device: torch.device, *, at_steps_share: float = AT_STEPS_SHARE
) -> Tensor:
    """Sample times, shifted towards noise: such a share of them are those that a run of `STEPS` visits, 1 first."""
    anywhere = torch.rand(count) * (1 - LOWEST_U) + LOWEST_U
    visited = torch.randint(1, STEPS + 1, (count,)) / STEPS
    u = torch.where(torch.rand(count) < at_steps_share, visited, anywhere)
    return (SHIFT * u / (1 + (SHIFT - 1) * u)).to(device)


def flow_loss(
    networks: Networks,
    batch: Batch,
    precision: torch.dtype,
    compiled: Callable[..., tuple[Tensor]] | None = None,
    *,
    at_steps_share: float = AT_STEPS_SHARE,
) -> Tensor:
    """Return the flow-matching loss of a batch."""
    device = batch.target.device
    times = sample_times(len(batch), device, at_steps_share=at_steps_share)
    noise = torch.randn(batch.target.shape).to(device)
    t = times.view(-1, 1, 1, 1)
    noisy = (1 - t) * batch.target + t * noise
    transform = compiled if compiled is not None and _is_common(batch) else networks.transformer
    with autocast(device, precision):
        predicted = velocity(transform, embed(networks, batch), noisy, times, batch.references)
    wanted = PIPELINE._pack_latents(noise - batch.target)  # noqa: SLF001
    return mse_loss(predicted.float(), wanted)


def _is_common(batch: Batch) -> bool:
    # each shape is compiled anew, for a minute or two; the rare ones would never earn that back
    rows, columns = batch.target.shape[-2:]
    return rows == columns and len(batch.references) < 2  # noqa: PLR2004


def without_prompts(batch: Batch, empty: tuple[Tensor, Tensor]) -> Batch:
    """Replace `UNPROMPTED_SHARE` of the prompts by the tokens and the mask of the empty one."""
    chosen = (torch.rand(len(batch)) < UNPROMPTED_SHARE).to(batch.target.device)[:, None]
    return replace(
        batch,
        token_ids=torch.where(chosen, empty[0], batch.token_ids),
        mask=torch.where(chosen, empty[1], batch.mask),
    )


@dataclass(slots=True, kw_only=True)
class Curriculum:
    """Decides which examples come at which share of the way."""

    encoder: Encoder
    sampler: Sampler
    batch: int
    capacity: int
    _pools: dict[tuple[int, Canvas], Pool] = field(default_factory=dict, init=False)

    def next(self, progress: float, step: int) -> Batch:
        """Give the next batch."""
        rng = self.sampler.rng
        references = 0
        every = [every for start, every in EDIT_EVERY.items() if progress > start]
        if every and step % every[-1] == 0:
            references = 2 if rng.random() < TWO_REFERENCES_SHARE else 1
        other = rng.random() < OTHER_CANVAS_SHARE
        canvas = rng.choice(OTHER_CANVASES) if other else SQUARE
        count = self.batch * 8 // (8 + 4 * references)  # about the same work
        return self._pool(references, canvas).draw(count)

    def _pool(self, references: int, canvas: Canvas) -> Pool:
        key = (references, canvas)
        if key not in self._pools:
            share = (1.0 if canvas == SQUARE else 0.1) * (0.3 if references else 1.0)
            self._pools[key] = Pool(
                encoder=self.encoder,
                make=lambda: self._example(references, canvas),
                capacity=max(self.batch, int(self.capacity * share)),
            )
        return self._pools[key]

    def _example(self, references: int, canvas: Canvas) -> Example:
        if not references:
            return text_example(self.sampler, canvas)
        kinds = ONE_REFERENCE if references == 1 else TWO_REFERENCES
        return edit_example(self.sampler, canvas, self.sampler.rng.choice(kinds))


@dataclass(slots=True, kw_only=True)
class TransformerPhase:
    """One run of transformer training; `on_save` gets the averaged networks every few minutes.

    A run for the base model learns all noise levels alike, and to draw without a prompt.
    """

    folder: Path
    steps: int
    seed: int
    device: torch.device
    encoder: Encoder
    vocabulary: int
    resume: bool = False
    batch: int = BATCH
    capacity: int = CAPACITY
    stop_after: int | None = None  # steps
    compiled: bool = False
    goes_on_from: Networks | None = None  # what a run before this one gave
    for_base: bool = False
    report: Callable[[str], None] = print
    on_save: Callable[[Networks, int], str] = lambda _networks, _steps: ""

    def train(self) -> Networks:
        """Take the steps that are left, and return the averaged networks."""
        again = self.goes_on_from is not None
        training = NetworkTraining(
            start=self.goes_on_from or self._new_networks(),
            path=self.folder / self._state_name(),
            steps=self.steps,
            seed=self.seed + 1 if again else self.seed,  # to see other scenes
            rate=AGAIN_RATE if again else 1.0,
            longest_average=AVERAGE,
            precision=self.encoder.precision,
            device=self.device,
            resume=self.resume,
            stop_after=self.stop_after,
            report=self.report,
            on_save=self.on_save,
        )
        return training.run(self._lessons)

    def _state_name(self) -> str:
        if self.for_base:
            return "base.pt"
        return "transformer.pt" if self.goes_on_from is None else "transformer.again.pt"

    def _new_networks(self) -> Networks:
        torch.manual_seed(self.seed)
        return new_networks(self.vocabulary, self.device)

    def _lessons(
        self, networks: Networks, _averaged: Networks, rng: random.Random
    ) -> Callable[[float, int], Tensor]:
        curriculum = Curriculum(
            encoder=self.encoder, sampler=Sampler(rng), batch=self.batch, capacity=self.capacity
        )
        compiled = torch.compile(networks.transformer, dynamic=False) if self.compiled else None
        again = self.goes_on_from is not None
        empty = self.encoder.tokens([""])

        def loss_of(progress: float, step: int) -> Tensor:
            batch = curriculum.next(1.0 if again else progress, step)
            if not self.for_base:
                return flow_loss(networks, batch, self.encoder.precision, compiled)
            unprompted = without_prompts(batch, empty)
            return flow_loss(
                networks, unprompted, self.encoder.precision, compiled, at_steps_share=0.0
            )

        return loss_of

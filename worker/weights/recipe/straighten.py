"""Straightening: the model learns from its own trajectories where each should lead.

A noise and a prompt have one ideal picture (`coupling.py`). It is the target of the first states on the model's way
from that noise. Of the last ones, in which places and sizes have been decided, it is the ideal picture that is nearest
to what the model drew (`fit.py`). So the paths from noise to picture become straight (rectified flow, arXiv
2209.03003), their ends become clean, and the states are those that the model meets when it draws.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from worker.weights.recipe.autocast import autocast
from worker.weights.recipe.coupling import coupled_pictures
from worker.weights.recipe.edits import (
    ONE_REFERENCE,
    TWO_REFERENCES,
    Example,
    edit_example,
    text_example,
)
from worker.weights.recipe.fit import nearest_picture
from worker.weights.recipe.model import PIPELINE, SHIFT, TOKEN_CHANNELS, TOKEN_PX, Autoencoder
from worker.weights.recipe.networks import Networks, NetworkTraining, embed, velocity
from worker.weights.recipe.pool import Batch, Encoder
from worker.weights.recipe.transformer import OTHER_CANVASES, SQUARE
from worker.weights.recipe.world import Canvas, Sampler

BATCH = 16
RATE = 0.2  # of the rates that the networks learned at
AVERAGE = 0.99
CANVAS_WEIGHTS = {SQUARE: 4, **dict.fromkeys(OTHER_CANVASES, 3), OTHER_CANVASES[0]: 4}
STEP_COUNTS = {4: 8, 2: 1, 3: 1, 6: 1}  # of a trajectory, with their weights
# How often a batch holds: own trajectories of texts, of edits with one and with two references; straight lines to texts.
KIND_WEIGHTS = {"text": 8, "line": 5, "one": 3, "two": 1}
USES = 2  # of each state, on average; a state that is used more often is learned by heart
KEPT_BATCHES = 4
SETTLED = 0.8  # of noise: below it places and sizes have been decided
DECODE_AT_ONCE = 4  # their activations fit the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state of a trajectory and the end that it should have."""

    token_ids: Tensor
    mask: Tensor
    references: tuple[Tensor, ...]
    noisy: Tensor
    time: Tensor
    target: Tensor


def schedule(steps: int) -> list[float]:
    """Return the noise levels of a drawing in so many steps, as the scheduler has them, and 0."""
    even = [1 - step / steps for step in range(steps)]
    return [SHIFT * u / (1 + (SHIFT - 1) * u) for u in even] + [0.0]


@torch.no_grad()
def roll_out(
    networks: Networks, batch: Batch, noise: Tensor, steps: int, precision: torch.dtype
) -> tuple[list[tuple[Tensor, float]], Tensor]:
    """Draw a batch from noise; return the states with their times, and the end."""
    latents, states = noise, []
    with autocast(noise.device, precision):
        text = embed(networks, batch)
        for time, after in pairwise(schedule(steps)):
            states.append((latents, time))
            times = torch.full((len(batch),), time, device=noise.device)
            moved = velocity(networks.transformer, text, latents, times, batch.references).float()
            latents = latents + (after - time) * moved.mT.reshape(latents.shape)
    return states, latents


def straight_line(batch: Batch, noise: Tensor, steps: int) -> list[tuple[Tensor, float]]:
    """Return the states of a perfect drawing with their times."""
    times = schedule(steps)[:-1]
    return [((1 - time) * batch.target + time * noise, time) for time in times]


@torch.no_grad()
def decode(autoencoder: Autoencoder, latents: Tensor) -> Tensor:
    """Decode normalised latents to pixels `[n, height, width, 3]` in 0…255, on the CPU."""
    statistics = autoencoder.bn
    mean = statistics.running_mean.view(1, -1, 1, 1)
    deviation = (statistics.running_var + statistics.eps).sqrt().view(1, -1, 1, 1)
    whole = PIPELINE._unpatchify_latents(latents * deviation + mean)  # noqa: SLF001  the pipeline's own order
    parts = [autoencoder.decode(part).sample for part in whole.split(DECODE_AT_ONCE)]
    coloured = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return coloured.permute(0, 2, 3, 1).cpu()


@dataclass(slots=True, kw_only=True)
class Trajectories:
    """States of examples of one kind and size; every draw adds some and drops the oldest."""

    networks: Networks  # which draw
    encoder: Encoder
    make: Callable[[], Example]
    batch: int
    rng: random.Random
    own: bool  # drawn by the networks, or straight lines
    _states: deque[State] = field(init=False)

    def __post_init__(self) -> None:
        self._states = deque(maxlen=KEPT_BATCHES * self.batch)

    def draw(self) -> list[State]:
        """Return a random batch of states."""
        steps = self.rng.choices(list(STEP_COUNTS), list(STEP_COUNTS.values()))[0]
        self._add(max(1, round(self.batch / USES / steps)), steps)
        while len(self._states) < self.batch:
            self._add(max(1, self.batch // steps), steps)
        return self.rng.sample(list(self._states), self.batch)

    def _add(self, count: int, steps: int) -> None:
        examples = [self.make() for _ in range(count)]
        canvas = examples[0].target.canvas
        size = (TOKEN_CHANNELS, canvas.height // TOKEN_PX, canvas.width // TOKEN_PX)
        noise = torch.randn(count, *size).to(self.encoder.device)
        if not examples[0].references:  # an edit leaves no place open
            scenes = [example.target.scene for example in examples]
            coupled = coupled_pictures(self.encoder, scenes, canvas, noise)
            examples = [replace(e, target=c) for e, c in zip(examples, coupled, strict=True)]
        batch = self.encoder.encode(examples)
        if self.own:
            states, end = roll_out(self.networks, batch, noise, steps, self.encoder.precision)
            late = batch.target if batch.references else self._nearest(examples, end)
        else:
            states, late = straight_line(batch, noise, steps), batch.target
        self._states.extend(
            State(
                token_ids=batch.token_ids[row],
                mask=batch.mask[row],
                references=tuple(reference[row] for reference in batch.references),
                noisy=noisy[row],
                time=torch.tensor(time, device=noisy.device),
                target=(batch.target if time > SETTLED else late)[row],
            )
            for noisy, time in states
            for row in range(count)
        )

    def _nearest(self, examples: list[Example], end: Tensor) -> Tensor:
        pixels = decode(self.encoder.autoencoder, end).numpy()
        pictures = [
            nearest_picture(example.target, drawn)
            for example, drawn in zip(examples, pixels, strict=True)
        ]
        return self.encoder.latents(pictures)


def straight_loss(networks: Networks, states: list[State], precision: torch.dtype) -> Tensor:
    """Return the error of the velocities that lead from states to their targets."""
    noisy, target = (
        torch.stack([getattr(s, name) for s in states]) for name in ("noisy", "target")
    )
    times = torch.stack([state.time for state in states])
    references = tuple(torch.stack(r) for r in zip(*(s.references for s in states), strict=True))
    batch = Batch(
        token_ids=torch.stack([state.token_ids for state in states]),
        mask=torch.stack([state.mask for state in states]),
        target=target,
        references=references,
    )
    with autocast(noisy.device, precision):
        text = embed(networks, batch)
        predicted = velocity(networks.transformer, text, noisy, times, references)
    wanted = PIPELINE._pack_latents((noisy - target) / times.view(-1, 1, 1, 1))  # noqa: SLF001
    return mse_loss(predicted.float(), wanted)


@dataclass(slots=True, kw_only=True)
class StraightenPhase:
    """One run of straightening, from networks that can draw."""

    folder: Path
    steps: int
    seed: int
    encoder: Encoder  # its autoencoder decodes as the one that ships
    start: Networks
    resume: bool = False
    batch: int = BATCH
    stop_after: int | None = None  # steps
    report: Callable[[str], None] = print
    on_save: Callable[[Networks, int], str] = lambda _networks, _steps: ""

    def train(self) -> Networks:
        """Take the steps that are left, and return the averaged networks."""
        training = NetworkTraining(
            start=self.start,
            path=self.folder / "straight.pt",
            steps=self.steps,
            seed=self.seed,
            rate=RATE,
            longest_average=AVERAGE,
            precision=self.encoder.precision,
            device=self.encoder.device,
            resume=self.resume,
            stop_after=self.stop_after,
            report=self.report,
            on_save=self.on_save,
        )
        return training.run(self._lessons)

    def _lessons(
        self, networks: Networks, averaged: Networks, rng: random.Random
    ) -> Callable[[float, int], Tensor]:
        lessons = _Lessons(
            networks=networks,
            drawing=averaged,
            encoder=self.encoder,
            sampler=Sampler(rng),
            batch=self.batch,
        )
        return lambda _progress, _step: lessons.next_loss()


@dataclass(slots=True, kw_only=True)
class _Lessons:
    """Chooses what each step is about."""

    networks: Networks
    drawing: Networks
    encoder: Encoder
    sampler: Sampler
    batch: int
    _kept: dict[tuple[str, Canvas], Trajectories] = field(default_factory=dict, init=False)

    def next_loss(self) -> Tensor:
        rng = self.sampler.rng
        kind = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
        canvas = rng.choices(list(CANVAS_WEIGHTS), list(CANVAS_WEIGHTS.values()))[0]
        states = self._trajectories(kind, canvas).draw()
        return straight_loss(self.networks, states, self.encoder.precision)

    def _trajectories(self, kind: str, canvas: Canvas) -> Trajectories:
        key = (kind, canvas)
        if key not in self._kept:
            share = {"one": 0.66, "two": 0.5}.get(kind, 1.0)  # about the same work
            self._kept[key] = Trajectories(
                networks=self.drawing,
                encoder=self.encoder,
                make=lambda: self._example(kind, canvas),
                batch=max(1, int(self.batch * share)),
                rng=self.sampler.rng,
                own=kind != "line",
            )
        return self._kept[key]

    def _example(self, kind: str, canvas: Canvas) -> Example:
        if kind in ("text", "line"):
            return text_example(self.sampler, canvas)
        kinds = ONE_REFERENCE if kind == "one" else TWO_REFERENCES
        return edit_example(self.sampler, canvas, self.sampler.rng.choice(kinds))

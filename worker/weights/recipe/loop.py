"""The loop that all phases share: so many steps, with rates, saves and reports."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from torch.optim import Optimizer
from tqdm import tqdm

from worker.weights.recipe import checkpoint
from worker.weights.recipe.average import Average

SMOOTHING = 0.98  # of the loss that is shown
SAVE_EVERY = timedelta(minutes=10)
CONSTANT_UNTIL = 0.6  # of the way; from there on the learning rate falls
WARMUP_STEPS = 20


@dataclass(slots=True, kw_only=True)
class Loop:
    """One phase on its way: what it trains, how far it is, and where its state lies."""

    path: Path
    steps: int
    parts: dict[str, checkpoint.Stateful]
    optimisers: tuple[tuple[Optimizer, float], ...]  # each with its highest rate
    average: Average
    rng: random.Random
    report: Callable[[str], None]
    stop_after: int | None = None  # so many steps, as if it were interrupted there
    done: int = field(default=0, init=False)
    loss: float | None = field(default=None, init=False)

    def resume(self, device: torch.device) -> None:
        """Take up the state on disk, if there is one."""
        if not self.path.exists():
            return
        numbers = checkpoint.load(self.path, self._everything(), self.rng, device=device)
        self.done = self.average.updates = int(numbers["done"])

    def run(
        self, loss_of: Callable[[float, int], torch.Tensor], on_save: Callable[[int], str]
    ) -> None:
        """Take the steps that are left.

        `loss_of` gets the share of the way and the step; `on_save` says what to add to the report.
        """
        saved_at = time.monotonic()
        with tqdm(
            total=self.steps, initial=self.done, desc=self.path.stem, unit="step", mininterval=5
        ) as bar:
            while not self._is_over():
                self._step(loss_of)
                bar.set_postfix(loss=f"{self.loss:.4f}", refresh=False)
                bar.update()
                if time.monotonic() - saved_at > SAVE_EVERY.total_seconds() or self._is_over():
                    self._save()
                    self.report(f"{self} {on_save(self.done)}")
                    saved_at = time.monotonic()

    def __str__(self) -> str:
        return f"{self.path.stem}: {self.done} of {self.steps} steps, loss {self.loss:.4f}"

    def _is_over(self) -> bool:
        return self.done >= self.steps or self.done == self.stop_after

    def _step(self, loss_of: Callable[[float, int], torch.Tensor]) -> None:
        progress = self.done / self.steps
        factor = learning_rate(progress, steps=self.done)
        for optimiser, rate in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate * factor
        loss = loss_of(progress, self.done)
        loss.backward()  # type: ignore[no-untyped-call]  # as torch has it
        torch.nn.utils.clip_grad_norm_(self.average.live, 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.average.update()
        value = float(loss.detach())
        self.loss = value if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * value
        self.done += 1

    def _save(self) -> None:
        checkpoint.save(self.path, self._everything(), self.rng, {"done": self.done})

    def _everything(self) -> dict[str, checkpoint.Stateful]:
        names = ("muon", "adam")
        stepped = (optimiser for optimiser, _ in self.optimisers)
        return {**self.parts, **dict(zip(names, stepped, strict=True))}


def learning_rate(progress: float, *, steps: int) -> float:
    """Give the factor on the learning rate: a short warm-up, constant, then falling to 2 %."""
    falling = (1 - progress) / (1 - CONSTANT_UNTIL)
    return max(0.02, min(1.0, falling)) * min(1.0, (steps + 1) / WARMUP_STEPS)

"""The loop that both phases share: steps until the time is over, with rates, saves and reports."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from torch.optim import Optimizer
from tqdm import tqdm

from worker.weights.recipe import checkpoint
from worker.weights.recipe.average import Average
from worker.weights.recipe.budget import Budget, learning_rate

SMOOTHING = 0.98  # of the loss that is shown


@dataclass(slots=True, kw_only=True)
class Loop:
    """One phase on its way: what it trains, how far it is, and where its state lies."""

    path: Path
    minutes: float
    parts: dict[str, checkpoint.Stateful]
    optimisers: tuple[tuple[Optimizer, float], ...]  # each with its highest rate
    average: Average
    rng: random.Random
    report: Callable[[str], None]
    save_every: timedelta = timedelta(minutes=4)
    most_steps: int | None = None
    steps: int = field(default=0, init=False)
    loss: float | None = field(default=None, init=False)
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = Budget(total=timedelta(minutes=self.minutes))

    def resume(self, device: torch.device) -> None:
        """Take up the state on disk, if there is one."""
        if not self.path.exists():
            return
        everything = self._everything()
        numbers = checkpoint.load(self.path, everything, self.rng, device=device)
        self.budget.spent = timedelta(seconds=numbers["spent_s"])
        self.steps = self.average.updates = int(numbers["steps"])

    def run(
        self, loss_of: Callable[[float, int], torch.Tensor], on_save: Callable[[int], str]
    ) -> None:
        """Step until the budget is spent.

        `loss_of` gets the share of the way and the step; `on_save` says what to add to the report.
        """
        saved = self.budget.spent
        self.budget.pause()
        with tqdm(total=100, desc=self.path.stem, unit="%", mininterval=5) as bar:
            while not self._is_over():
                self._step(loss_of)
                bar.n = round(100 * self.budget.progress)
                bar.set_postfix(steps=self.steps, loss=f"{self.loss:.4f}", refresh=False)
                bar.update(0)
                if self.budget.spent - saved > self.save_every or self._is_over():
                    saved = self.budget.spent
                    self._save()
                    self.report(f"{self} {on_save(self.steps)}")
                    self.budget.pause()

    def __str__(self) -> str:
        minutes = self.budget.spent / timedelta(minutes=1)
        return f"{self.path.stem}: {self.steps} steps, {minutes:.1f} min, loss {self.loss:.4f}"

    def _is_over(self) -> bool:
        return self.budget.is_spent or self.steps == self.most_steps

    def _step(self, loss_of: Callable[[float, int], torch.Tensor]) -> None:
        factor = learning_rate(self.budget.progress, steps=self.steps)
        for optimiser, rate in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate * factor
        loss = loss_of(self.budget.progress, self.steps)
        loss.backward()  # type: ignore[no-untyped-call]  # as torch has it
        torch.nn.utils.clip_grad_norm_(self.average.live, 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.average.update()
        value = float(loss.detach())
        self.loss = value if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * value
        self.steps += 1
        self.budget.tick()

    def _save(self) -> None:
        numbers = {"spent_s": self.budget.spent.total_seconds(), "steps": self.steps}
        checkpoint.save(self.path, self._everything(), self.rng, numbers)

    def _everything(self) -> dict[str, checkpoint.Stateful]:
        names = ("muon", "adam")
        stepped = (optimiser for optimiser, _ in self.optimisers)
        return {**self.parts, **dict(zip(names, stepped, strict=True))}

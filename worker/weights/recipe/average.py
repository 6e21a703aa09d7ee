"""An exponential average of parameters, which draws better than the last ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(slots=True, kw_only=True)
class Average:
    """Follows parameters; short-sighted at first, then as far as `longest` says."""

    live: Sequence[nn.Parameter]
    kept: Sequence[nn.Parameter]
    longest: float
    updates: int = 0

    def update(self) -> None:
        """Move what is kept towards what is live."""
        self.updates += 1
        memory = min(self.longest, self.updates / (self.updates + 9))
        torch._foreach_lerp_(
            [param.data for param in self.kept],
            [param.data for param in self.live],
            1 - memory,
        )

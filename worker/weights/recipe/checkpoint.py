"""A phase's whole state on disk, so that training goes on where it stopped."""

import os
import random
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """What can be written down and taken up again."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102  torch's own shape
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: D102


def save(
    path: Path, parts: dict[str, Stateful], rng: random.Random, numbers: dict[str, float]
) -> None:
    """Write the parts, the state of chance and a few numbers."""
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "random": rng.getstate(),
        "torch": torch.get_rng_state(),
        "numbers": numbers,
    }
    write_whole(path, state)


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all, whenever the process dies."""
    draft = path.with_suffix(".draft")
    torch.save(state, draft)
    os.replace(draft, path)  # noqa: PTH105  atomic, and says so


def load(
    path: Path, parts: dict[str, Stateful], rng: random.Random, *, device: torch.device
) -> dict[str, float]:
    """Take up the parts and the state of chance; give the numbers back."""
    # weights_only cannot read the state of `random`; the file is one that this recipe wrote
    state = torch.load(path, map_location=device, weights_only=False)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    rng.setstate(state["random"])
    torch.set_rng_state(state["torch"].cpu())
    numbers: dict[str, float] = state["numbers"]
    return numbers

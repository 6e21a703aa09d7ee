"""The kinds of weights, and what each kind decides about a generation."""

from enum import StrEnum

UNGUIDED = 1.0  # the guidance scale that is no guidance


class CheckpointKind(StrEnum):
    """The kinds of FLUX.2 [klein] weights: two of the 4B model, and two of the 9B model."""

    DISTILLED = "distilled"
    BASE = "base"
    DISTILLED_9B = "distilled-9b"
    BASE_9B = "base-9b"

    @property
    def default_steps(self) -> int:
        """The denoising steps if the caller names none."""
        return 28 if self.is_guided else 4

    @property
    def is_guided(self) -> bool:
        """True if a guidance scale and a negative prompt change the image."""
        return self in (CheckpointKind.BASE, CheckpointKind.BASE_9B)

    @property
    def licence(self) -> str:
        """The licence of the published weights."""
        is_open = self in (CheckpointKind.DISTILLED, CheckpointKind.BASE)
        return "Apache-2.0" if is_open else "FLUX Non-Commercial License"

    @property
    def substitute(self) -> "CheckpointKind | None":
        """The kind that serves the models of this kind if no worker has it."""
        substitutes = {
            CheckpointKind.DISTILLED: CheckpointKind.BASE,
            CheckpointKind.DISTILLED_9B: CheckpointKind.BASE_9B,
        }
        return substitutes.get(self)

"""The kinds of weights, and what each kind decides about a generation."""

from enum import StrEnum

UNGUIDED = 1.0  # the guidance scale that is no guidance


class CheckpointKind(StrEnum):
    """The two kinds of FLUX.2 [klein] weights."""

    DISTILLED = "distilled"
    BASE = "base"

    @property
    def default_steps(self) -> int:
        """The denoising steps where the caller names none."""
        return 4 if self is CheckpointKind.DISTILLED else 28

    @property
    def is_guided(self) -> bool:
        """True if a guidance scale and a negative prompt change the image."""
        return self is not CheckpointKind.DISTILLED

"""Holds what a worker measured of an attempt. Does no I/O."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds that an attempt spent in its stages, which `timeline` explains, and its steps."""

    claimed_ms: int = 0
    encoded_ms: int = 0
    denoised_ms: int = 0
    decoded_ms: int = 0
    written_ms: int = 0
    stored_ms: int = 0
    batch: int = 1  # predictions that shared the engine
    steps: int = 0  # of all images; some may never have been recorded while it ran

    @property
    def engine_ms(self) -> int:
        """The milliseconds of the engine."""
        return self.encoded_ms + self.denoised_ms + self.decoded_ms


NOT_MEASURED = Timings()

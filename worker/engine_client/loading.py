"""Names the phases of an engine's start that callers see. The log has every status of it."""

from enum import StrEnum


class LoadingPhase(StrEnum):
    """A phase of the start of an engine process, named like its status."""

    STARTING = "starting"
    WEIGHTS = "weights"
    SAFETY_CHECKER = "safety checker"
    WARM_UP = "warm-up"

    @classmethod
    def of(cls, status: str) -> "LoadingPhase | None":
        """Return the phase that begins with this status. None for what concerns operators alone."""
        return next((phase for phase in cls if phase == status), None)

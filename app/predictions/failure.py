"""Says why a prediction failed. The engine process imports it, too, and so it imports little."""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a prediction failed."""

    INPUT = "input"
    INPUT_UNREACHABLE = "input_unreachable"
    ENGINE = "engine"
    OUT_OF_MEMORY = "out_of_memory"
    QUEUE_TIMEOUT = "queue_timeout"
    TIMEOUT = "timeout"
    STORAGE = "storage"
    WORKER_LOST = "worker_lost"
    WITHHELD = "withheld"

    @property
    def is_caller_error(self) -> bool:
        """Return whether the request itself must change before it can succeed."""
        return self in {Cause.INPUT, Cause.INPUT_UNREACHABLE, Cause.WITHHELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The cause of a failure, and a message for the caller."""

    cause: Cause
    message: str

    @property
    def is_retryable(self) -> bool:
        """Return whether the same request may succeed if it is sent again."""
        return not self.cause.is_caller_error

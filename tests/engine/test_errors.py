"""Tests of the failure that a prediction records for each engine error."""

import pytest

from app.predictions.failure import Cause, Failure
from worker.engines.errors import (
    EngineFault,
    InvalidOutput,
    OutOfMemory,
    RequestFailed,
    TimedOut,
    UnusableLora,
    Withheld,
)


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (EngineFault("a black image"), Cause.ENGINE, "a black image"),
        (InvalidOutput(), Cause.ENGINE, "not an image"),
        (UnusableLora("LoRA a.safetensors: no"), Cause.INPUT, "a.safetensors"),
        (Withheld(), Cause.WITHHELD, "change the prompt"),
        (OutOfMemory(), Cause.OUT_OF_MEMORY, "fewer or smaller"),
        (TimedOut(), Cause.TIMEOUT, "fewer steps"),
        (RequestFailed("no", Cause.STORAGE), Cause.STORAGE, "no"),
    ],
)
def test_error_has_cause_and_message(error, cause, message):
    """Each error has a cause and a message, which is its docstring unless one is given."""
    assert error.failure == Failure(cause=cause, message=str(error))
    assert message in error.failure.message

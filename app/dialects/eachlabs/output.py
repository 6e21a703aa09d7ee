"""What came of a prediction, in the words of each::labs: image_links, reasons, price and times; pure."""

from typing import Any, NamedTuple

from app.dialects.image_links import RenderOutput
from app.predictions.prediction import Cause, Prediction


class _FailureWords(NamedTuple):
    """How hosted names a cause."""

    code: str
    category: str
    step: str
    classification: str  # in the history's filter


_FAILURES = {
    cause: _FailureWords(*words)
    for cause, *words in (
        (Cause.INPUT, "INPUT_VALIDATION_ERROR", "VALIDATION", "input", "invalid_user_input"),
        (Cause.ENGINE, "PROVIDER_FAILED", "PROVIDER", "generate", "provider_error"),
        (Cause.OUT_OF_MEMORY, "PROVIDER_SERVER_ERROR", "PROVIDER", "generate", "provider_error"),
        (Cause.QUEUE_TIMEOUT, "EXECUTION_TIMEOUT", "TIMEOUT", "queue", "execution_timeout"),
        (Cause.TIMEOUT, "EXECUTION_TIMEOUT", "TIMEOUT", "generate", "execution_timeout"),
        (Cause.WITHHELD, "PROVIDER_REJECTED", "PROVIDER", "safety", "content_moderation"),
        (Cause.STORAGE, "PROVIDER_SERVER_ERROR", "INTERNAL", "store", "internal_error"),
        (
            Cause.WORKER_LOST,
            "PROVIDER_SERVER_ERROR",
            "PROVIDER",
            "generate",
            "provider_unavailable",
        ),
    )
}


def classification_of(prediction: Prediction) -> str:
    """Name a failure as the history's filter does; '' where there is none."""
    return "" if prediction.failure is None else _FAILURES[prediction.failure.cause].classification


def output_of(
    prediction: Prediction, show: RenderOutput
) -> str | list[str] | dict[str, Any] | None:
    """Show what came of it: nothing yet, one picture, several, or why it failed."""
    if prediction.failure is not None:
        return _envelope(prediction)
    shown = [show(output) for output in prediction.outputs]
    return shown[0] if len(shown) == 1 else shown or None


def _envelope(prediction: Prediction) -> dict[str, Any]:
    failure = prediction.failure
    assert failure is not None  # noqa: S101 -- the caller looked
    words = _FAILURES[failure.cause]
    return {
        "error": "Execution failed",
        "error_code": words.code,
        "error_message": failure.message,
        "error_step": words.step,
        "classification": {"category": words.category},
        "execution_id": prediction.id,
        "model_slug": prediction.model,
        "provider": "klein",
        "retryable": failure.is_retryable,
        "status": "ERROR",
        "success": False,
    }

"""Renders the output of a prediction in the form of each::labs, failures included. Does no I/O."""

from typing import Any, NamedTuple

from app.dialects.image_links import RenderOutput
from app.predictions.failure import Cause
from app.predictions.prediction import Prediction


class _FailureTerms(NamedTuple):
    """The names of a cause in the hosted API."""

    code: str
    category: str
    step: str
    classification: str  # in the history's filter


_FAILURES = {
    cause: _FailureTerms(*terms)
    for cause, *terms in (
        (Cause.INPUT, "INPUT_VALIDATION_ERROR", "VALIDATION", "input", "invalid_user_input"),
        (
            Cause.INPUT_UNREACHABLE,
            "INPUT_DOWNLOAD_ERROR",
            "VALIDATION",
            "input",
            "invalid_user_input",
        ),
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

CLASSIFICATIONS = (  # that the history's filter of the hosted API knows
    "content_moderation",
    "execution_timeout",
    "invalid_user_input",
    "invalid_model_config",
    "provider_auth",
    "provider_error",
    "provider_rate_limit",
    "provider_unavailable",
    "internal_error",
    "unknown",
)


def classification_of(prediction: Prediction) -> str:
    """Return the error classification of a prediction, or '' without a failure."""
    return "" if prediction.failure is None else _FAILURES[prediction.failure.cause].classification


def output_of(
    prediction: Prediction, show: RenderOutput
) -> str | list[str] | dict[str, Any] | None:
    """Render the output: None, one image, several images, or the failure."""
    if prediction.failure is not None:
        return _envelope(prediction)
    images = [show(output) for output in prediction.outputs]
    return images[0] if len(images) == 1 else images or None


def _envelope(prediction: Prediction) -> dict[str, Any]:
    failure = prediction.failure
    assert failure is not None  # noqa: S101 -- the caller looked
    terms = _FAILURES[failure.cause]
    return {
        "error": "Execution failed",
        "error_code": terms.code,
        "error_message": failure.message,
        "error_step": terms.step,
        "classification": {"category": terms.category},
        "execution_id": prediction.id,
        "model_slug": prediction.model,
        "provider": "klein",
        "retryable": failure.is_retryable,
        "status": "ERROR",
        "success": False,
    }

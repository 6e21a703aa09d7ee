"""Renders errors in OpenAI's form."""

from app.api.errors import BadBody, ErrorResponse, Unauthorized
from app.dialects.errors import describe_error
from app.dialects.openai import wire
from app.dialects.run import NoImage
from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.failure import Cause

_NO_RETRY = {"x-should-retry": "false"}  # otherwise the client repeats the whole request
_CAUSES = {None: "cancelled", Cause.WITHHELD: "content_policy_violation"}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error in OpenAI's form. Only a malformed body has another status than elsewhere."""
    if isinstance(exc, NoImage):
        status = 400 if exc.is_caller_error else 500
        code = _CAUSES.get(exc.cause, exc.cause)
        body = wire.error_body(status, str(exc), None, code)
        return ErrorResponse(status=status, body=body, headers=_NO_RETRY)
    description = describe_error(exc)
    status = 400 if isinstance(exc, BadBody) else description.status
    details = description.details
    message = details if isinstance(details, str) and details else description.error
    param, code = None, _CODES.get(status)
    if isinstance(exc, Unauthorized):
        message = "Incorrect API key provided: send one of this server as Authorization: Bearer"
    if isinstance(exc, UnknownModel):
        message = f"The model `{exc}` does not exist here; GET /v1/models lists what does"
        param, code = "model", "model_not_found"
    if isinstance(exc, InvalidInput):
        message, param, code = str(exc), exc.problems[0].field, "invalid_value"
    body = wire.error_body(status, message, param, code)
    return ErrorResponse(status=status, body=body, headers=description.headers)

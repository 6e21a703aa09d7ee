"""Declares the JSON bodies of the hosted API, for `/openapi.json`."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class CreateBody(BaseModel):
    """The request to create a prediction."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, examples=["flux-2-klein-4b-text-to-image"])
    input: dict[str, Any] = Field(examples=[{"prompt": "a red circle on a blue background"}])
    version: Any = Field(None, description="Ignored; accepted for older clients.", deprecated=True)
    webhook_url: str | None = Field(
        None,
        description="The URL that receives the result on success or failure; an empty string means none.",
    )
    webhook_secret: str | None = Field(None, description="The secret that signs the webhook.")


class Accepted(BaseModel):
    """The response to create and cancel; clients read `predictionID` or `id`."""

    status: str = Field(examples=["success"])
    message: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    id: str


class Metrics(BaseModel):
    """Time and cost of a prediction."""

    predict_time: float = Field(description="Seconds of processing.")
    cost: float = Field(description="US dollars, at the price of the hosted API.")


class Urls(BaseModel):
    """URLs of this prediction."""

    cancel: str
    get: str


class FailureClass(BaseModel):
    """The category of a failure."""

    category: Literal[
        "VALIDATION", "PROVIDER", "AUTH", "RATE_LIMIT", "NETWORK", "TIMEOUT", "INTERNAL", "UNKNOWN"
    ]


class FailureEnvelope(BaseModel):
    """The output of a failed prediction."""

    error: str
    error_code: str
    error_message: str
    error_step: str
    classification: FailureClass
    execution_id: str
    model_slug: str
    provider: str
    retryable: bool
    status: Literal["ERROR"]
    success: Literal[False]


class PredictionBody(BaseModel):
    """A prediction."""

    id: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    input: dict[str, Any]
    logs: str | None
    status: Literal[
        "created", "processing", "success", "error", "cancelled", "starting", "failed"
    ] = Field(description="`starting` and `failed` appear only with KLEIN_STATUS_WORDS=documented.")
    output: str | list[str] | FailureEnvelope | None
    metrics: Metrics
    urls: Urls
    error: str = Field(default="", description="The message of a failed prediction.")


class RunBody(BaseModel):
    """The response to a run, which waits until the prediction is final."""

    status: Literal["success", "failed", "cancelled"]
    message: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    output: str | list[str] | FailureEnvelope | None
    error: str


class ModelBody(BaseModel):
    """A model and the schema of its input."""

    title: str
    slug: str
    version: Literal["0.0.1"] = Field(deprecated=True)
    output_type: str
    request_schema: dict[str, Any]
    weights: str | None = Field(
        description="The weights that serve it here. Not part of the hosted API."
    )


class Execution(BaseModel):
    """A prediction in the history."""

    id: str
    model: str
    requested_model: None
    status: str
    workflow_id: None
    workflow_execution_id: None
    execution_cost: float
    run_time: float = Field(description="Seconds.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    output: str | None


class Executions(BaseModel):
    """A page of predictions, newest first."""

    executions: list[Execution]
    total_count: int
    total_capped: bool
    offset: int
    limit: int


class WebhookBody(BaseModel):
    """A webhook delivery."""

    execution_id: str
    url: str
    request: str = Field(description="The raw JSON body.")
    headers: dict[str, str] = Field(
        description="The request headers, without secret and signatures."
    )
    source: str
    created_at: AwareDatetime


class WebhookAttempt(BaseModel):
    """One attempt to deliver a webhook."""

    status: Literal["PENDING", "SUCCESS", "FAILED"]
    status_code: int | None
    response: str | None = Field(description="The first 1,024 bytes of the response.")
    error_message: str | None
    created_at: AwareDatetime


class WebhookWithAttempts(WebhookBody):
    """A webhook delivery and its attempts."""

    attempts: list[WebhookAttempt]


class Webhooks(BaseModel):
    """A page of webhook deliveries, newest first."""

    webhooks: list[WebhookBody]
    limit: int
    offset: int
    total_count: int


class PresignBody(BaseModel):
    """The request to upload a file."""

    content_type: str = Field(description="`image/png`, `image/jpeg` or `image/webp`.")
    file_type: str | None = Field(None, description="Accepted and ignored.")
    expires_in_seconds: int | None = Field(
        None,
        description="How long to keep the file: 60 to 31536000, other values are clamped. Default: 180 days.",
    )


class Presigned(BaseModel):
    """Where to send the file, and the URL that names it."""

    id: str
    presigned_url: str = Field(description="PUT the raw bytes here within 15 minutes.")
    public_url: str = Field(description="Use this URL as an input after the upload.")
    expires_at: AwareDatetime = Field(description="When the file is deleted.")
    required_headers: dict[str, str] = Field(description="Headers to send with the PUT.")


class ErrorBody(BaseModel):
    """An error."""

    status: int
    error: str
    message: str = Field(description="The same as `error`.")
    details: Any = Field(description="What is wrong and what to do.")

"""The JSON bodies of the hosted API, as its clients read them; they document our own OpenAPI."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class CreateBody(BaseModel):
    """A request for a prediction."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, examples=["flux-2-klein-4b-text-to-image"])
    input: dict[str, Any] = Field(examples=[{"prompt": "a red circle on a blue background"}])
    version: Any = Field(None, description="Ignored; kept for older clients.", deprecated=True)
    webhook_url: str | None = Field(
        None, description="Called at the end, on success or failure; an empty string means none."
    )
    webhook_secret: str | None = Field(None, description="Signs what is sent to webhook_url.")


class Accepted(BaseModel):
    """The answer to create and cancel; some clients read `predictionID`, some `id`."""

    status: str = Field(examples=["success"])
    message: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    id: str


class Metrics(BaseModel):
    """What a prediction took."""

    predict_time: float = Field(description="Seconds from the start of processing to the end.")
    cost: float = Field(description="US dollars at the hosted price.")


class Urls(BaseModel):
    """Where to go on."""

    cancel: str
    get: str


class FailureClass(BaseModel):
    """The broad kind of a failure."""

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
    """A prediction as GET shows it."""

    id: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    input: dict[str, Any]
    logs: str | None
    status: Literal[
        "created", "processing", "success", "error", "cancelled", "starting", "failed"
    ] = Field(description="`starting` and `failed` only under KLEIN_STATUS_WORDS=documented.")
    output: str | list[str] | FailureEnvelope | None
    metrics: Metrics
    urls: Urls
    error: str = Field(default="", description="Present on error only.")


class RunBody(BaseModel):
    """The answer to a run, which waits for the end."""

    status: Literal["success", "failed", "cancelled"]
    message: str
    predictionID: str  # noqa: N815 -- the contract's spelling
    output: str | list[str] | FailureEnvelope | None
    error: str


class ModelBody(BaseModel):
    """A model and what it takes."""

    title: str
    slug: str
    version: Literal["0.0.1"] = Field(deprecated=True)
    output_type: str
    request_schema: dict[str, Any]
    weights: str | None = Field(description="Which weights this server serves it with; ours.")


class Execution(BaseModel):
    """One line of the history."""

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
    """A page of the history, newest first."""

    executions: list[Execution]
    total_count: int
    total_capped: bool
    offset: int
    limit: int


class WebhookBody(BaseModel):
    """A webhook delivery."""

    execution_id: str
    url: str
    request: str = Field(description="The raw JSON that is sent.")
    headers: dict[str, str] = Field(description="Sent along, without secret and signatures.")
    source: str
    created_at: AwareDatetime


class WebhookAttempt(BaseModel):
    """One request to a receiver."""

    status: Literal["PENDING", "SUCCESS", "FAILED"]
    status_code: int | None
    response: str | None = Field(description="The first 1,024 bytes.")
    error_message: str | None
    created_at: AwareDatetime


class WebhookWithAttempts(WebhookBody):
    """A webhook delivery with every attempt."""

    attempts: list[WebhookAttempt]


class Webhooks(BaseModel):
    """A page of webhook deliveries, newest first."""

    webhooks: list[WebhookBody]
    limit: int
    offset: int
    total_count: int


class PresignBody(BaseModel):
    """What a caller wants to upload."""

    content_type: str = Field(description="`image/png`, `image/jpeg` or `image/webp`.")
    file_type: str | None = Field(None, description="Accepted and not used.")
    expires_in_seconds: int | None = Field(
        None,
        description="How long the file is kept: 60 to 31536000, what is beyond is cut; else 180 days.",
    )


class Presigned(BaseModel):
    """Where a file can be sent, and what it is called then."""

    id: str
    presigned_url: str = Field(description="PUT the raw bytes here within 15 minutes.")
    public_url: str = Field(description="Names the file as an input once it was sent.")
    expires_at: AwareDatetime = Field(description="The file is deleted then.")
    required_headers: dict[str, str] = Field(description="Send them with the PUT.")


class ErrorBody(BaseModel):
    """Every error, never empty."""

    status: int
    error: str
    message: str = Field(description="The same as `error`.")
    details: Any = Field(description="What is wrong in particular and what to do.")

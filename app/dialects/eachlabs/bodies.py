"""Declares the JSON bodies of the hosted API, for `/openapi.json`."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.predictions.timeline import TimelineStage


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
    """The response to create and cancel. Clients read `predictionID` or `id`."""

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


class HistoryEntry(PredictionBody):
    """A prediction in the history, as GET shows it."""

    model: str
    created_at: AwareDatetime
    completed_at: AwareDatetime | None


class HistoryBody(BaseModel):
    """Some predictions, newest first."""

    predictions: list[HistoryEntry]
    cursor: str | None = Field(
        description="Send it as `cursor` to get the following predictions; null if there are none."
    )


class PlaceBody(BaseModel):
    """The place of a prediction in the queue."""

    position: int | None = Field(description="1 is next; null if the prediction does not wait.")
    expected_wait_s: float | None = Field(
        description="Estimated seconds until it starts, with the start of the engine if its worker is asleep; null if unknown or if it does not wait."
    )
    expected_end_s: float | None = Field(
        description="Estimated seconds until it ends; null if unknown or if it has ended."
    )


class StageBody(BaseModel):
    """How long a prediction was in a stage."""

    stage: TimelineStage
    ms: int = Field(description="Milliseconds.")


class TimelineBody(BaseModel):
    """The stages of a prediction that are over, in order."""

    id: str
    status: str
    attempt: int = Field(description="The number of the last attempt; 0 before the first one.")
    stages: list[StageBody]
    total_ms: int | None = Field(
        description="Milliseconds from the create to the end, and to the acknowledgement of the webhook once there is one; null before the end."
    )


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
    licence: str = Field(
        description="The licence of the published weights. Not part of the hosted API."
    )


class LoraBody(BaseModel):
    """A LoRA that predictions may name."""

    name: str = Field(description="What `loras[].path` takes.", examples=["ink.safetensors"])
    size_bytes: int
    base: str | None = Field(description="The checkpoint that it fits; null where it fits none.")
    models: list[str] = Field(description="The slugs of the models served here that it fits.")
    trigger_words: list[str] = Field(description="From the metadata of its trainer.")
    problem: str | None = Field(description="Why no model served here can use it.")


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


class UsageRow(BaseModel):
    """What a key used of a model on a day."""

    day: str = Field(description="In UTC.", examples=["2026-01-31"])
    key: str = Field(description="The id of the key.")
    model: str
    images: int
    megapixels: float
    engine_s: float = Field(
        description="Seconds of the engine, without those that other predictions of a batch used."
    )
    dollars: float = Field(description="At the price of the hosted API.")


class UsageBody(BaseModel):
    """What a key used, the newest day first."""

    usage: list[UsageRow]


class PresignBody(BaseModel):
    """The request to upload a file."""

    content_type: str = Field(description="`image/png`, `image/jpeg` or `image/webp`.")
    file_type: str | None = Field(None, description="Accepted and ignored.")
    expires_in_seconds: int | None = Field(
        None,
        description="How long to keep the file: 60 to 31536000, other values are clamped. Default: 180 days.",
    )


class Presigned(BaseModel):
    """The URL to send a file to, and the URL that names it."""

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

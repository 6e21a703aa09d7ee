"""Settings of the limits of the queue, of API keys and of the disk."""

from datetime import timedelta

from pydantic import BaseModel, Field

from app.settings.value_types import PositiveDuration


class LimitSettings(BaseModel):
    """The section Limits of docs/configuration.md."""

    queue_timeout: PositiveDuration = Field(
        timedelta(days=1),
        alias="KLEIN_QUEUE_TIMEOUT",
        description="How long a prediction may wait for a worker before it fails.",
    )
    refuse_late: bool = Field(
        False,
        alias="KLEIN_REFUSE_LATE",
        description="Whether to refuse a create with a 429 if its `X-Queue-Timeout` will probably be over before a worker is free.",
    )
    run_timeout: PositiveDuration = Field(
        timedelta(hours=1),
        alias="KLEIN_RUN_TIMEOUT",
        description="How long one attempt may run before the prediction fails.",
    )
    queue_limit: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_QUEUE_LIMIT",
        description="Maximum number of unfinished predictions of all keys. A key without a limit of its own may have half of what other keys leave. Further creates get a 429.",
    )
    waiters: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_WAITERS",
        description="Maximum number of waiters (long polls, runs and event streams) in one API process. Further ones get a 429.",
    )
    key_waiters: int = Field(
        5_000,
        ge=1,
        alias="KLEIN_KEY_WAITERS",
        description="Maximum number of waiters of one key in that process.",
    )
    key_in_flight: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_KEY_IN_FLIGHT",
        description="Maximum number of unfinished predictions of one key. `klein keys create` sets it for a single key.",
    )
    key_per_minute: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_KEY_PER_MINUTE",
        description="Maximum number of creates of one key in a minute.",
    )
    key_dollars_per_month: float | None = Field(
        None,
        ge=0,
        alias="KLEIN_KEY_DOLLARS_PER_MONTH",
        description="Maximum cost of the successful predictions of one key in a calendar month (UTC), at the hosted price.",
    )
    key_uploads: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_KEY_UPLOADS",
        description="Maximum number of uploads of one key that have not expired. Further ones get a 429.",
    )
    key_upload_bytes: int = Field(
        10 * 1024 * 1024 * 1024,
        ge=1,
        alias="KLEIN_KEY_UPLOAD_BYTES",
        description="Maximum size of all uploads of one key together.",
    )
    disk_reserve_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=0,
        alias="KLEIN_DISK_RESERVE_BYTES",
        description="Free space that uploads and fetched LoRAs leave on the disk of KLEIN_DATA or STORAGE_URL, for images. They get a 503 below it.",
    )
    usage_days: int = Field(
        92,
        ge=1,
        le=3660,
        alias="KLEIN_USAGE_DAYS",
        description="How many days of usage are kept for `GET /v1/usage`.",
    )

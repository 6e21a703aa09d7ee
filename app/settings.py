"""Defines every setting: its environment variable, type, default and description (docs/configuration.md)."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.durations import parse_duration

SIDES = range(64, 2049)  # pixels


class StatusWords(StrEnum):
    """The names of the statuses in the hosted API."""

    LIVE = "live"
    DOCUMENTED = "documented"


class WebhookRetries(StrEnum):
    """The schedule of webhook attempts."""

    HOSTED = "hosted"
    LONG = "long"


class FileUrls(StrEnum):
    """How clients download files from S3."""

    PRESIGNED = "presigned"
    PROXIED = "proxied"


class Settings(BaseSettings):
    """The settings of every process. An unset variable keeps the default."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, env_ignore_empty=True)

    # Server
    host: str = Field("127.0.0.1", alias="KLEIN_HOST", description="Address the API listens on.")
    port: int = Field(8000, ge=1, le=65535, alias="KLEIN_PORT", description="Port of the API.")
    public_url: str | None = Field(
        None,
        alias="KLEIN_PUBLIC_URL",
        description="Base of the URLs in responses. Unset: the host that the request named.",
    )
    data: Path = Field(
        Path("data"), alias="KLEIN_DATA", description="Folder of Redis data, outputs and keys."
    )
    grace: timedelta = Field(
        timedelta(seconds=25),
        gt=timedelta(0),
        alias="KLEIN_GRACE",
        description="How long a process may finish its work after it is told to stop.",
    )
    body_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, alias="KLEIN_BODY_MAX_BYTES", description="Largest request body."
    )
    status_words: StatusWords = Field(
        StatusWords.LIVE,
        alias="KLEIN_STATUS_WORDS",
        description="Names of the statuses. `live`: created, processing, success, error, cancelled, as the hosted service responds. "
        "`documented`: starting, processing, success, failed, cancelled, as its OpenAPI document says.",
    )
    strict_inputs: bool = Field(
        False,
        alias="KLEIN_STRICT_INPUTS",
        description="Whether to reject input fields that the model does not have, with a 400.",
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_ALLOW_HOSTS",
        description="Private hosts, addresses or networks, comma-separated, that reference images may come from and webhooks may go to. "
        "Public ones are always allowed.",
    )

    # API keys
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_API_KEYS",
        description="API keys, comma-separated. If there are none, the first `klein up` creates one.",
    )
    url_secret: str | None = Field(
        None,
        alias="KLEIN_URL_SECRET",
        description="Secret that signs file URLs and derives the secrets of `/v1/webhooks/default/secret`. Unset: created once and kept in "
        "KLEIN_DATA. Several hosts must share it.",
    )
    url: str | None = Field(
        None,
        alias="KLEIN_URL",
        description="Server that `klein predict` calls. Unset: the one on this machine.",
    )
    api_key: str | None = Field(
        None,
        alias="KLEIN_API_KEY",
        description="Key that `klein predict` sends. Unset: the first of KLEIN_API_KEYS.",
    )

    # Redis
    redis_url: str | None = Field(
        None, alias="REDIS_URL", description="Redis or Valkey. Unset: `klein up` starts its own."
    )

    # Storage
    storage_url: str | None = Field(
        None,
        alias="STORAGE_URL",
        description="Storage of all files: `file:///folder`, or `s3://bucket/prefix` with the `AWS_*` variables. Unset: a folder in "
        "KLEIN_DATA.",
    )
    file_urls: FileUrls = Field(
        FileUrls.PROXIED,
        alias="KLEIN_FILE_URLS",
        description="How clients download files from S3. `proxied`: through the API server. `presigned`: by a redirect to a presigned URL "
        "that is valid for an hour.",
    )
    s3_public_url: str | None = Field(
        None,
        alias="KLEIN_S3_PUBLIC_URL",
        pattern=r"^https?://[^/]+",
        description="S3 endpoint that clients can reach, for presigned URLs. Unset: `AWS_ENDPOINT_URL`.",
    )
    retention: timedelta = Field(
        timedelta(days=7),
        gt=timedelta(0),
        alias="KLEIN_RETENTION",
        description="How long a record and its files are kept after the prediction ends.",
    )

    # Model
    weights: str | None = Field(
        None,
        alias="KLEIN_WEIGHTS",
        description="Checkpoint folder, or a Hugging Face hub id such as `black-forest-labs/FLUX.2-klein-4B`, which is downloaded once. "
        "Unset: the built-in model.",
    )
    loras: Path | None = Field(
        None,
        alias="KLEIN_LORAS",
        description="Folder of the .safetensors files that predictions may name in `loras`.",
    )
    quantization: Literal["none", "fp8", "nvfp4"] = Field(
        "none",
        alias="KLEIN_QUANTIZATION",
        description="Number format of the transformer's matrix products: `none` (bfloat16), `fp8` (Ada, Hopper or Blackwell) or `nvfp4` "
        "(Blackwell). The result is compared with `none` at start and refused if it is too far off.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        alias="KLEIN_COMPILE",
        description="Whether to compile the model before serving. `auto`: on a GPU only, and without compilation if it fails.",
    )
    warm_sizes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_WARM_SIZES",
        description="Sizes to generate before the worker is ready, comma-separated, such as `1024x1024,768x1344`. With compilation the "
        "first size gets specialised code.",
    )
    batch: int = Field(
        1,
        ge=1,
        le=64,
        alias="KLEIN_BATCH",
        description="Most text-to-image predictions in one batch. A batch needs the same size, steps, guidance and LoRAs, and enough "
        "memory.",
    )
    safety_checker: Path | None = Field(
        None,
        alias="KLEIN_SAFETY_CHECKER",
        description="Folder of a transformers image classifier with a label `nsfw`, such as Falconsai/nsfw_image_detection. Reference "
        "images and output images that it flags are withheld.",
    )
    c2pa_cert: Path | None = Field(
        None,
        alias="KLEIN_C2PA_CERT",
        description="PEM file of the certificate chain that signs the content credentials (C2PA) of each image. Unset: images are not "
        "signed.",
    )
    c2pa_key: Path | None = Field(
        None, alias="KLEIN_C2PA_KEY", description="PEM file of the private key of that certificate."
    )

    # Limits
    queue_timeout: timedelta = Field(
        timedelta(days=1),
        gt=timedelta(0),
        alias="KLEIN_QUEUE_TIMEOUT",
        description="How long a prediction may wait for a worker before it fails.",
    )
    run_timeout: timedelta = Field(
        timedelta(hours=1),
        gt=timedelta(0),
        alias="KLEIN_RUN_TIMEOUT",
        description="How long one attempt may run before the prediction fails.",
    )
    queue_limit: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_QUEUE_LIMIT",
        description="Most unfinished predictions of all keys. Further creates get a 429.",
    )
    waiters: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_WAITERS",
        description="Most waiters (long polls, runs and event streams) in one API process. Further ones get a 429.",
    )
    key_waiters: int = Field(
        5_000,
        ge=1,
        alias="KLEIN_KEY_WAITERS",
        description="Most waiters of one key in that process.",
    )
    key_in_flight: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_KEY_IN_FLIGHT",
        description="Most unfinished predictions of one key. `klein keys create` sets it for a single key.",
    )
    key_per_minute: int | None = Field(
        None, ge=1, alias="KLEIN_KEY_PER_MINUTE", description="Most creates of one key in a minute."
    )
    key_dollars_per_month: float | None = Field(
        None,
        ge=0,
        alias="KLEIN_KEY_DOLLARS_PER_MONTH",
        description="Most that the successful predictions of one key may cost in a calendar month (UTC), at the hosted price.",
    )

    # Webhooks
    webhook_retries: WebhookRetries = Field(
        WebhookRetries.HOSTED,
        alias="KLEIN_WEBHOOK_RETRIES",
        description="Schedule of webhook attempts. `hosted`: 3 attempts, 10 s apart. `long`: 10 attempts over three days, as "
        "standardwebhooks.com recommends.",
    )

    # Telemetry
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        alias="KLEIN_METRICS_PORT",
        description="Port of `/metrics` on a worker or courier, on KLEIN_HOST. Unset: none. Under `klein up` the courier "
        "uses the next port.",
    )
    otlp_endpoint: str | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Endpoint that receives traces, by OTLP over HTTP. Unset: no traces. The SDK's other `OTEL_*` variables apply too.",
    )

    @field_validator("api_keys", "allow_hosts", "warm_sizes", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("retention", "queue_timeout", "run_timeout", "grace", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("warm_sizes")
    @classmethod
    def _sizes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for size in value:
            sides = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
            if not sides or not all(int(side) in SIDES for side in sides.groups()):
                raise ValueError(f"{size} is not WIDTHxHEIGHT with sides from 64 to 2048")
        return value

    @property
    def storage(self) -> str:
        """URL of the storage in use."""
        return self.storage_url or f"file://{self.data.resolve() / 'outputs'}"

    @property
    def address(self) -> str:
        """URL of the API server on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    @property
    def redis(self) -> str:
        """URL of the Redis in use."""
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def redis_shown(self) -> str:
        """URL of the Redis in use without its password, for messages."""
        parts = urlsplit(self.redis)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def redis_socket(self) -> Path:
        """Socket of the embedded Redis."""
        return self.data.resolve() / "redis" / "redis.sock"

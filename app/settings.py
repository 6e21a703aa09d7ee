"""Every environment variable, typed, once; README lists them from here."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SIDES = range(64, 2049)  # pixels


class StatusWords(StrEnum):
    """Whose words the statuses of the hosted API use."""

    LIVE = "live"
    DOCUMENTED = "documented"


class WebhookRetries(StrEnum):
    """Whose schedule failed webhooks follow."""

    HOSTED = "hosted"
    LONG = "long"


class FileUrls(StrEnum):
    """How the files of an S3 storage reach their readers."""

    PRESIGNED = "presigned"
    PROXIED = "proxied"


class Settings(BaseSettings):
    """What an operator can set; an unset variable keeps the default."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, env_ignore_empty=True)

    host: str = Field("127.0.0.1", alias="KLEIN_HOST", description="address the api listens on")
    port: int = Field(8000, ge=1, le=65535, alias="KLEIN_PORT", description="port of the api")
    otlp_endpoint: str | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="where traces go, by OTLP over HTTP; unset: no traces. The SDK's other `OTEL_*` "
        "variables hold too",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        alias="KLEIN_METRICS_PORT",
        description="port of a worker's or courier's own `/metrics` on KLEIN_HOST; unset: none. Under "
        "`klein up` the courier takes the next one",
    )
    data: Path = Field(
        Path("data"), alias="KLEIN_DATA", description="folder of the Redis file, outputs and keys"
    )
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_API_KEYS",
        description="API keys, comma-separated; if there are none the first `klein up` makes one",
    )
    url: str | None = Field(
        None,
        alias="KLEIN_URL",
        description="server that `klein predict` asks; unset: the one on this machine",
    )
    api_key: str | None = Field(
        None,
        alias="KLEIN_API_KEY",
        description="key that `klein predict` sends; unset: the first of KLEIN_API_KEYS",
    )
    public_url: str | None = Field(
        None,
        alias="KLEIN_PUBLIC_URL",
        description="base of the URLs in answers; else the host that the request named",
    )
    status_words: StatusWords = Field(
        StatusWords.LIVE,
        alias="KLEIN_STATUS_WORDS",
        description="`live`: created, processing, success, error, cancelled, as hosted answers; "
        "`documented`: starting, processing, success, failed, cancelled, as its OpenAPI says",
    )
    redis_url: str | None = Field(
        None, alias="REDIS_URL", description="Redis or Valkey; unset: `klein up` starts its own"
    )
    storage_url: str | None = Field(
        None,
        alias="STORAGE_URL",
        description="where files go: `file:///folder`, or `s3://bucket/prefix` with the "
        "`AWS_*` variables; unset: `file://` in KLEIN_DATA",
    )
    file_urls: FileUrls = Field(
        FileUrls.PROXIED,
        alias="KLEIN_FILE_URLS",
        description="how files come out of S3: `proxied`: the api passes the bytes on; `presigned`: file URLs "
        "redirect to presigned ones, of an hour",
    )
    s3_public_url: str | None = Field(
        None,
        alias="KLEIN_S3_PUBLIC_URL",
        pattern=r"^https?://[^/]+",
        description="endpoint at which readers reach the S3, for presigned URLs; unset: `AWS_ENDPOINT_URL`",
    )
    weights: str | None = Field(
        None,
        alias="KLEIN_WEIGHTS",
        description="checkpoint folder or hub id such as `black-forest-labs/FLUX.2-klein-4B`, "
        "downloaded once; unset: the built-in model",
    )
    loras: Path | None = Field(
        None,
        alias="KLEIN_LORAS",
        description="folder whose .safetensors files predictions may name in `loras`",
    )
    quantization: Literal["none", "fp8", "nvfp4"] = Field(
        "none",
        alias="KLEIN_QUANTIZATION",
        description="numbers the transformer multiplies in: `none` for bfloat16, `fp8` on Ada, Hopper "
        "or Blackwell, `nvfp4` on Blackwell; compared with `none` at start, refused where it is broken",
    )
    safety_checker: Path | None = Field(
        None,
        alias="KLEIN_SAFETY_CHECKER",
        description="folder of a transformers image classifier with a label `nsfw`, such as "
        "Falconsai/nsfw_image_detection; what it finds in input images or pictures is withheld",
    )
    c2pa_cert: Path | None = Field(
        None,
        alias="KLEIN_C2PA_CERT",
        description="PEM file of the certificate, with its chain, that signs each picture's content "
        "credentials (C2PA); unset: pictures are not signed",
    )
    c2pa_key: Path | None = Field(
        None, alias="KLEIN_C2PA_KEY", description="PEM file of that certificate's private key"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        alias="KLEIN_COMPILE",
        description="compile the model before serving; `auto`: on a GPU, and go on without where that fails",
    )
    warm_sizes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_WARM_SIZES",
        description="sizes drawn before the worker is ready, comma-separated, such as "
        "`1024x1024,768x1344`; compiled, the first has code of its own",
    )
    batch: int = Field(
        1,
        ge=1,
        le=64,
        alias="KLEIN_BATCH",
        description="most waiting text-to-image predictions drawn at once, where they agree in size, steps, "
        "guidance and LoRAs and the memory holds them",
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_ALLOW_HOSTS",
        description="private hosts, addresses or networks, comma-separated, that input images may be "
        "fetched from and webhooks sent to; public ones always",
    )
    webhook_retries: WebhookRetries = Field(
        WebhookRetries.HOSTED,
        alias="KLEIN_WEBHOOK_RETRIES",
        description="`hosted`: 3 attempts, 10 s apart; `long`: 10 attempts over three days, as "
        "standardwebhooks.com says",
    )
    retention: timedelta = Field(
        timedelta(days=7),
        gt=timedelta(0),
        alias="KLEIN_RETENTION",
        description="how long a record and its files are kept after the end (seconds or ISO 8601)",
    )
    queue_timeout: timedelta = Field(
        timedelta(days=1),
        gt=timedelta(0),
        alias="KLEIN_QUEUE_TIMEOUT",
        description="how long a prediction may wait for a worker before it ends as an error (seconds or ISO 8601)",
    )
    run_timeout: timedelta = Field(
        timedelta(hours=1),
        gt=timedelta(0),
        alias="KLEIN_RUN_TIMEOUT",
        description="how long one attempt may run before it ends as an error (seconds or ISO 8601)",
    )
    queue_limit: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_QUEUE_LIMIT",
        description="most predictions that have not ended, of all keys; more are a 429",
    )
    waiters: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_WAITERS",
        description="most requests that wait for an end in one api process; more are a 429",
    )
    key_waiters: int = Field(
        5_000, ge=1, alias="KLEIN_KEY_WAITERS", description="most of them that are of one key"
    )
    key_in_flight: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_KEY_IN_FLIGHT",
        description="most predictions of one key that have not ended; `klein keys create` sets it for one key",
    )
    key_per_minute: int | None = Field(
        None, ge=1, alias="KLEIN_KEY_PER_MINUTE", description="most creates of one key in a minute"
    )
    key_dollars_per_month: float | None = Field(
        None,
        ge=0,
        alias="KLEIN_KEY_DOLLARS_PER_MONTH",
        description="most that one key's successes may cost in a month of UTC, at the hosted price",
    )
    grace: timedelta = Field(
        timedelta(seconds=25),
        gt=timedelta(0),
        alias="KLEIN_GRACE",
        description="how long a process that is told to stop may finish its work (seconds or ISO 8601)",
    )
    body_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, alias="KLEIN_BODY_MAX_BYTES", description="largest request body"
    )
    strict_inputs: bool = Field(
        False,
        alias="KLEIN_STRICT_INPUTS",
        description="answer 400 to input fields that the model does not have",
    )
    url_secret: str | None = Field(
        None,
        alias="KLEIN_URL_SECRET",
        description="signs file URLs and makes the secrets of `/v1/webhooks/default/secret`; unset: made once and kept in KLEIN_DATA. Several hosts share it",
    )

    @field_validator("api_keys", "allow_hosts", "warm_sizes", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("retention", "queue_timeout", "run_timeout", "grace", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return float(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("warm_sizes")
    @classmethod
    def _sizes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for size in value:
            found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
            if not found or not all(SIDES.start <= int(s) < SIDES.stop for s in found.groups()):
                raise ValueError(f"{size} is not WIDTHxHEIGHT with sides from 64 to 2048")
        return value

    @property
    def storage(self) -> str:
        """The storage that is used."""
        return self.storage_url or f"file://{self.data.resolve() / 'outputs'}"

    @property
    def proxies_files(self) -> bool:
        """Whether the api passes on the files of an S3 storage itself."""
        return self.storage.startswith("s3:") and self.file_urls is FileUrls.PROXIED

    @property
    def address(self) -> str:
        """Where the api of this machine answers."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    @property
    def redis(self) -> str:
        """The Redis that is used."""
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def redis_shown(self) -> str:
        """The Redis that is used, without its password, for messages."""
        parts = urlsplit(self.redis)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def redis_socket(self) -> Path:
        """Where the embedded Redis listens."""
        return self.data.resolve() / "redis" / "redis.sock"

"""Defines every setting: its environment variable, type, default and description (docs/configuration.md)."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.address import url_of
from app.durations import parse_duration
from app.generation_text import Metadata
from app.log_format import LogFormat

SIDES = range(64, 2049)  # pixels


class StatusWords(StrEnum):
    """The names of the statuses in the hosted API."""

    LIVE = "live"
    DOCUMENTED = "documented"


class WebhookRetries(StrEnum):
    """The schedule of webhook attempts."""

    HOSTED = "hosted"
    LONG = "long"


class UnreachableImages(StrEnum):
    """What a create gets whose input image cannot be fetched."""

    REFUSE = "refuse"
    ACCEPT = "accept"


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
        64 * 1024 * 1024,
        ge=1024,
        alias="KLEIN_BODY_MAX_BYTES",
        description="Largest request body with images. Beside its images a body may have 1 MB.",
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
    unreachable_images: UnreachableImages = Field(
        UnreachableImages.REFUSE,
        alias="KLEIN_UNREACHABLE_IMAGES",
        description="What a create gets whose input image cannot be fetched. `refuse`: a 400, and nothing is queued. `accept`: an id, and the "
        "prediction fails with `INPUT_DOWNLOAD_ERROR`, as on the hosted service.",
    )
    openai_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_OPENAI_MODELS",
        description="Model names that mean what is served, for clients of OpenAI's API, comma-separated. `*` stands for any text. "
        "Unset: the names of OpenAI's image models.",
    )
    allow_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_ALLOW_ORIGINS",
        description="Origins of pages in browsers that may call the API (CORS), comma-separated, such as `https://app.example.com`. "
        "`*`: any page. Unset: only the page of this server.",
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
        description="API keys, comma-separated, each of at least 32 characters. If there are none, the first `klein up` creates one.",
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
        description="Server that the [commands](cli.md) call. Unset: the one on this machine.",
    )
    api_key: str | None = Field(
        None,
        alias="KLEIN_API_KEY",
        description="Key that the commands send. Unset: the first of KLEIN_API_KEYS.",
    )

    # Redis
    redis_url: str | None = Field(
        None, alias="REDIS_URL", description="Redis or Valkey. Unset: `klein up` starts its own."
    )

    allow_volatile_redis: bool = Field(
        False,
        alias="KLEIN_ALLOW_VOLATILE_REDIS",
        description="Whether to use a Redis that writes nothing to disk. A restart of it loses accepted predictions.",
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
        description="How long a record and its files are kept after the prediction ends. The header `X-Retention` of a create shortens it.",
    )
    keep_prompts: bool = Field(
        True,
        alias="KLEIN_KEEP_PROMPTS",
        description="Whether records keep the prompt after the end. `false`: it is removed with the end, also from the history and from webhooks.",
    )

    # Model
    weights: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_WEIGHTS",
        description="Checkpoint folder or file, or a Hugging Face hub id such as `black-forest-labs/FLUX.2-klein-4B`, which is "
        "downloaded once. See [checkpoints.md](checkpoints.md). Several of different kinds, comma-separated: one worker "
        "[serves them all](operating.md#several-models-in-one-worker). Unset: the built-in model.",
    )
    model_turn: timedelta = Field(
        timedelta(minutes=1),
        ge=timedelta(0),
        alias="KLEIN_MODEL_TURN",
        description="How long the loaded model of a worker with several keeps it while predictions of another one wait, if memory does not "
        "hold both.",
    )
    model_memory_bytes: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_MODEL_MEMORY_BYTES",
        description="Most device memory that the models of one worker take together; one is always loaded. Unset: all that is free.",
    )
    transformer: str | None = Field(
        None,
        alias="KLEIN_TRANSFORMER",
        description="File or folder of a transformer that replaces that of KLEIN_WEIGHTS, or a file on the hub, such as "
        "`owner/name/file.safetensors`. .safetensors and .gguf files are read.",
    )
    text_encoder: str | None = Field(
        None,
        alias="KLEIN_TEXT_ENCODER",
        description="The same for the text encoder.",
    )
    vae: str | None = Field(
        None, alias="KLEIN_VAE", description="The same for the autoencoder (VAE)."
    )
    loras: Path | None = Field(
        None,
        alias="KLEIN_LORAS",
        description="Folder of the LoRAs that predictions may name in `loras`. The API process reads it too where it can.",
    )
    lora_sources: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="KLEIN_LORA_SOURCES",
        description="Where predictions may name LoRAs besides the folder, comma-separated: `hub` for the Hugging Face hub, host names, or `*` for every host. Unset: the folder alone.",
    )
    lora_cache_bytes: int = Field(
        10 * 1024 * 1024 * 1024,
        ge=1024 * 1024,
        alias="KLEIN_LORA_CACHE_BYTES",
        description="Most bytes of fetched LoRAs in the storage. The ones used longest ago are deleted. No LoRA above 1 GiB is fetched.",
    )
    hub_endpoint: str = Field(
        "https://huggingface.co",
        alias="HF_ENDPOINT",
        pattern=r"^https?://[^/]+",
        description="Hugging Face hub that LoRAs and weights are fetched from.",
    )
    device: Literal["auto", "cuda", "cpu", "mps"] = Field(
        "auto",
        alias="KLEIN_DEVICE",
        description="Device of the worker: `cuda` (an NVIDIA or AMD GPU), `cpu`, `mps` (the GPU of a Mac), or `auto`: `cuda` if there is a "
        "GPU, and else `cpu`. A worker does not start if the driver of NVIDIA is loaded but torch cannot use the GPU.",
    )
    quantization: Literal["none", "fp8", "nvfp4", "int8", "int8-weight-only"] = Field(
        "none",
        alias="KLEIN_QUANTIZATION",
        description="Number format of the transformer's matrix products: `none` (bfloat16), `fp8` (Ada, Hopper or Blackwell), `nvfp4` "
        "(Blackwell), `int8` (any GPU, for Ampere) or `int8-weight-only` (saves memory alone). The result is compared with `none` at start "
        "and refused if it is too far off.",
    )
    text_encoder_quantization: Literal["none", "int8-weight-only"] = Field(
        "none",
        alias="KLEIN_TEXT_ENCODER_QUANTIZATION",
        description="Number format of the text encoder's weights: `none` (bfloat16) or `int8-weight-only`, which takes half of their memory. "
        "The embeddings are compared with those of `none` at start, and refused if they are too far off.",
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
        description="Maximum number of text-to-image predictions in one batch. A batch needs the same size, steps, guidance and LoRAs, and enough "
        "memory.",
    )
    idle_unload: timedelta | None = Field(
        None,
        gt=timedelta(0),
        alias="KLEIN_IDLE_UNLOAD",
        description="How long a worker without work keeps the model loaded, such as `15m`. After that its engine process ends, with all "
        "its GPU memory, and the next prediction starts it again. Unset: the model stays loaded.",
    )
    canary_interval: timedelta = Field(
        timedelta(minutes=10),
        ge=timedelta(0),
        alias="KLEIN_CANARY_INTERVAL",
        description="How often a worker without work generates a small test image, the canary, and compares it with that of its start. "
        "A worker whose canary differs ends. `0`: never, nor at the start.",
    )
    safety_checker: Path | None = Field(
        None,
        alias="KLEIN_SAFETY_CHECKER",
        description="Folder of a transformers image classifier with a label `nsfw`, such as Falconsai/nsfw_image_detection. Reference "
        "images and output images that it flags are withheld.",
    )
    metadata: Metadata = Field(
        Metadata.NONE,
        alias="KLEIN_METADATA",
        description="What image files say about how they were generated. `none`: nothing. `seed`: seed, steps, size and model. "
        "`full`: the prompts and LoRAs too. The input field `metadata` decides for one prediction.",
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
    refuse_late: bool = Field(
        False,
        alias="KLEIN_REFUSE_LATE",
        description="Whether to refuse a create with a 429 if its `X-Queue-Timeout` will probably be over before a worker is free.",
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
        description="Free space that uploads leave on the disk of KLEIN_DATA or STORAGE_URL, for images. Uploads get a 503 below it.",
    )

    usage_days: int = Field(
        92,
        ge=1,
        le=3660,
        alias="KLEIN_USAGE_DAYS",
        description="How many days of usage are kept for `GET /v1/usage`.",
    )

    # Webhooks
    webhook_retries: WebhookRetries = Field(
        WebhookRetries.HOSTED,
        alias="KLEIN_WEBHOOK_RETRIES",
        description="Schedule of webhook attempts. `hosted`: 3 attempts, 10 s apart. `long`: 10 attempts over three days, as "
        "standardwebhooks.com recommends.",
    )
    key_webhooks_per_minute: int = Field(
        600,
        ge=1,
        alias="KLEIN_KEY_WEBHOOKS_PER_MINUTE",
        description="Maximum number of webhook attempts of one key in a minute, in one courier. Further ones wait.",
    )
    key_open_webhooks: int = Field(
        10_000,
        ge=1,
        alias="KLEIN_KEY_OPEN_WEBHOOKS",
        description="Maximum number of undelivered webhooks of one key. Further creates with a webhook URL get a 429.",
    )

    # Telemetry
    log_format: LogFormat = Field(
        LogFormat.AUTO,
        alias="KLEIN_LOG_FORMAT",
        description="Format of the logs on stderr. `text`: for people. `json`: one object a line. `auto`: text on a terminal, else JSON.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        alias="KLEIN_METRICS_PORT",
        description="Port of `/metrics` of each process, on KLEIN_HOST. Unset: only the API serves them, on its own port."
        " Under `klein up` the courier uses the next port and the API its own.",
    )
    otlp_endpoint: str | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Endpoint that receives traces, by OTLP over HTTP. Unset: no traces. The SDK's other `OTEL_*` variables apply too.",
    )

    @field_validator(
        "api_keys",
        "allow_hosts",
        "allow_origins",
        "openai_models",
        "warm_sizes",
        "lora_sources",
        "weights",
        mode="before",
    )
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "retention",
        "queue_timeout",
        "run_timeout",
        "grace",
        "idle_unload",
        "model_turn",
        "canary_interval",
        mode="before",
    )
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

    @model_validator(mode="after")
    def _keeps_what_it_writes(self) -> Self:
        if self.metadata is Metadata.FULL and not self.keep_prompts:
            raise ValueError(
                "KLEIN_METADATA=full writes prompts into image files, which KLEIN_KEEP_PROMPTS=false forbids; change one"
            )
        return self

    @model_validator(mode="after")
    def _replaces_components_of_one_checkpoint(self) -> Self:
        components = {
            "KLEIN_TRANSFORMER": self.transformer,
            "KLEIN_TEXT_ENCODER": self.text_encoder,
            "KLEIN_VAE": self.vae,
        }
        replaced = [name for name, value in components.items() if value is not None]
        if replaced and len(self.weights) > 1:
            raise ValueError(
                f"{replaced[0]} replaces a part of one checkpoint, and KLEIN_WEIGHTS names {len(self.weights)}; unset one of them"
            )
        return self

    @property
    def storage(self) -> str:
        """URL of the storage in use."""
        return self.storage_url or f"file://{self.data.resolve() / 'outputs'}"

    @property
    def address(self) -> str:
        """URL of the API server on this machine."""
        return url_of(self.host, self.port)

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

"""Settings of the API server: address, data folder, and how it answers requests."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field

from app.settings.value_types import CommaList, HttpUrl, Origins, PositiveDuration


class StatusWords(StrEnum):
    """The names of the statuses in the hosted API."""

    LIVE = "live"
    DOCUMENTED = "documented"


class UnreachableImages(StrEnum):
    """What a create gets whose input image cannot be fetched."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class ServerSettings(BaseModel):
    """The section Server of docs/configuration.md."""

    host: str = Field("127.0.0.1", alias="KLEIN_HOST", description="Address the API listens on.")
    port: int = Field(8000, ge=1, le=65535, alias="KLEIN_PORT", description="Port of the API.")
    public_url: HttpUrl | None = Field(
        None,
        alias="KLEIN_PUBLIC_URL",
        description="Base of the URLs in responses. Unset: the host that the request named.",
    )
    data: Path = Field(
        Path("data"), alias="KLEIN_DATA", description="Folder of Redis data, outputs and keys."
    )
    grace: PositiveDuration = Field(
        timedelta(seconds=25),
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
    openai_models: CommaList = Field(
        (),
        alias="KLEIN_OPENAI_MODELS",
        description="Model names that mean what is served, for clients of OpenAI's API, comma-separated. `*` stands for any text. "
        "Unset: the names of OpenAI's image models.",
    )
    allow_origins: Origins = Field(
        (),
        alias="KLEIN_ALLOW_ORIGINS",
        description="Origins of pages in browsers that may call the API (CORS), comma-separated, such as `https://app.example.com`. "
        "`*`: any page. Unset: only the page of this server.",
    )
    allow_hosts: CommaList = Field(
        (),
        alias="KLEIN_ALLOW_HOSTS",
        description="Private hosts, addresses or networks, comma-separated, that reference images may come from and webhooks may go to. "
        "Public ones are always allowed.",
    )

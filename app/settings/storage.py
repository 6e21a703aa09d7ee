"""Settings of the storage of files, and how long files, records and prompts are kept."""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, Field

from app.settings.value_types import HttpUrl, PositiveDuration


class FileUrls(StrEnum):
    """How clients download files from S3."""

    PRESIGNED = "presigned"
    PROXIED = "proxied"


class StorageSettings(BaseModel):
    """The section Storage of docs/configuration.md."""

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
    s3_public_url: HttpUrl | None = Field(
        None,
        alias="KLEIN_S3_PUBLIC_URL",
        description="S3 endpoint that clients can reach, for presigned URLs. Unset: `AWS_ENDPOINT_URL`.",
    )
    retention: PositiveDuration = Field(
        timedelta(days=7),
        alias="KLEIN_RETENTION",
        description="How long a record and its files are kept after the prediction ends. The header `X-Retention` of a create shortens it.",
    )
    keep_prompts: bool = Field(
        True,
        alias="KLEIN_KEEP_PROMPTS",
        description="Whether records keep the prompt after the end. `false`: it is removed with the end, also from the history and from webhooks.",
    )

"""The settings of every process, read from environment variables (docs/configuration.md).

A file of this folder defines each section: the variable, type, default and description of its settings.
"""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.address import url_of
from app.generation_text import Metadata
from app.settings.api_keys import ApiKeySettings
from app.settings.limits import LimitSettings
from app.settings.model import ModelSettings
from app.settings.redis import RedisSettings
from app.settings.server import ServerSettings
from app.settings.storage import StorageSettings
from app.settings.telemetry import TelemetrySettings
from app.settings.webhooks import WebhookSettings


class Settings(
    ServerSettings,
    ApiKeySettings,
    RedisSettings,
    StorageSettings,
    ModelSettings,
    LimitSettings,
    WebhookSettings,
    TelemetrySettings,
    BaseSettings,
):
    """The settings of one process. An unset variable keeps the default."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, env_ignore_empty=True)

    @model_validator(mode="after")
    def _keeps_prompts_out_of_files(self) -> Self:
        if self.metadata is Metadata.FULL and not self.keep_prompts:
            raise ValueError(
                "KLEIN_METADATA=full writes prompts into image files, which KLEIN_KEEP_PROMPTS=false forbids; change one"
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

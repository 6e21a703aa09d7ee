"""Settings of API keys: those that a server accepts, and the one that commands send."""

from pydantic import BaseModel, Field

from app.settings.value_types import CommaList


class ApiKeySettings(BaseModel):
    """The section API keys of docs/configuration.md."""

    api_keys: CommaList = Field(
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

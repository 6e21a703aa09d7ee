"""Settings of webhooks."""

from enum import StrEnum

from pydantic import BaseModel, Field


class WebhookRetries(StrEnum):
    """The schedule of webhook attempts."""

    HOSTED = "hosted"
    LONG = "long"


class WebhookSettings(BaseModel):
    """The section Webhooks of docs/configuration.md."""

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

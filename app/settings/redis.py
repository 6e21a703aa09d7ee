"""Settings of the connection to Redis or Valkey."""

from pydantic import BaseModel, Field


class RedisSettings(BaseModel):
    """The section Redis of docs/configuration.md."""

    redis_url: str | None = Field(
        None, alias="REDIS_URL", description="Redis or Valkey. Unset: `klein up` starts its own."
    )
    allow_volatile_redis: bool = Field(
        False,
        alias="KLEIN_ALLOW_VOLATILE_REDIS",
        description="Whether to use a Redis that writes nothing to disk. A restart of it loses accepted predictions.",
    )

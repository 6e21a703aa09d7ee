"""Checks that a Redis server keeps what klein writes: no eviction, no cluster, and a copy on disk."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from app.connections import open_redis
from app.logs import log

CACHED_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmetRequirement:
    """Why klein does not use a server, and what to do."""

    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}"


def unmet_requirements(
    connection: "redis.Redis", *, is_volatile_allowed: bool
) -> Iterator[UnmetRequirement]:
    """Find the requirements that the server does not meet. Raises redis.RedisError, also while it loads its data."""
    info: dict[str, Any] = connection.info()
    if info.get("loading"):  # until then it says that it writes no append-only file
        raise redis.BusyLoadingError("it is loading its data")
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        yield UnmetRequirement(
            text="it is a Redis Cluster, which klein does not support",
            advice="use a single server, or one that Sentinels watch",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield UnmetRequirement(
            text=f"it may evict records: maxmemory-policy is {policy}",
            advice="set `maxmemory-policy noeviction`",
        )
    if not is_volatile_allowed and not info.get("aof_enabled") and not _saves(connection):
        yield UnmetRequirement(
            text="it keeps nothing on disk: a restart would lose accepted predictions",
            advice="set `appendonly yes`, or KLEIN_ALLOW_VOLATILE_REDIS=true if replicas keep the data",
        )


def _saves(connection: "redis.Redis") -> bool:
    """Return whether snapshots are written, or may be: not every user may ask."""
    try:
        return bool(cast("dict[str, str]", connection.config_get("save")).get("save", "unknown"))
    except redis.ResponseError:
        return True


def require_redis(url: str, shown_url: str, *, is_volatile_allowed: bool) -> None:
    """Refuse a server that does not meet the requirements. Raises ValueError. An outage is left to later."""
    try:
        with open_redis(url, retry=None) as connection:
            unmet = next(
                unmet_requirements(connection, is_volatile_allowed=is_volatile_allowed), None
            )
    except redis.RedisError as exc:
        log.warning("redis_not_checked", error=str(exc))
        return
    if unmet is not None:
        raise ValueError(f"Redis at {shown_url}: {unmet}")


class RedisCheck:
    """Checks the server while it is used, because its configuration can change."""

    def __init__(self, connection: "redis.Redis", *, is_volatile_allowed: bool) -> None:
        self._redis = connection
        self._is_volatile_allowed = is_volatile_allowed
        self._checked_at = float("-inf")
        self._unmet: UnmetRequirement | None = None

    def unmet(self) -> UnmetRequirement | None:
        """Return the first unmet requirement, as it was at most CACHED_S ago. Raises redis.RedisError."""
        if time.monotonic() - self._checked_at > CACHED_S:
            problems = unmet_requirements(
                self._redis, is_volatile_allowed=self._is_volatile_allowed
            )
            self._unmet = next(problems, None)
            self._checked_at = time.monotonic()
        return self._unmet

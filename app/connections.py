"""Connects to Redis by URL: one server (`redis`, `rediss`, `unix`), or the master that Sentinels name.

`redis+sentinel://[user:password@]host:26379,host:26379/SERVICE[/DB]`. `rediss+sentinel` uses TLS for server and
Sentinels. Options are those of `redis`, and `sentinel_username` and `sentinel_password`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.connection import parse_url as parse_url_async
from redis.connection import parse_url

from app.shared_connection import SharedRedis

SENTINEL_PORT = 26379
CONNECT_S = 2.0
COMMAND_S = 5.0
READ_S = 15.0  # with thousands of callers an event loop may read a reply seconds late
_SUFFIX = "+sentinel"


def open_redis(url: str, timeout_s: float = COMMAND_S, **options: Any) -> "redis.Redis":
    """Connect when first used. `timeout_s` limits each command. Raises ValueError."""
    options |= {"socket_timeout": timeout_s, "socket_connect_timeout": CONNECT_S}
    if (sentinel_url := _parse_sentinel_url(url)) is None:
        return redis.Redis.from_url(url, **options)
    server_options = parse_url(sentinel_url.server_url)  # type: ignore[no-untyped-call]  # redis-py is untyped here
    is_tls = server_options.pop("connection_class", None) is not None
    sentinels = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        sentinel_url.sentinels,
        sentinel_kwargs=_split_sentinel_options(server_options, is_tls=is_tls),
    )
    pool = redis.sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        sentinel_url.service, sentinels, ssl=is_tls, **server_options | options
    )
    return redis.Redis.from_pool(pool)


def open_shared(url: str) -> SharedRedis:
    """Connect the callers of an event loop when one of them first needs it. Raises ValueError."""
    options: dict[str, Any] = {"socket_timeout": READ_S, "socket_connect_timeout": READ_S}
    if (sentinel_url := _parse_sentinel_url(url)) is None:
        pool = redis.asyncio.ConnectionPool.from_url(url, **options)
        return SharedRedis(connection_pool=pool)
    server_options: dict[str, Any] = dict(parse_url_async(sentinel_url.server_url))
    is_tls = server_options.pop("connection_class", None) is not None
    sentinels = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        sentinel_url.sentinels,
        sentinel_kwargs=_split_sentinel_options(server_options, is_tls=is_tls),
    )
    sentinel_pool = _SentinelPool(
        sentinel_url.service, sentinels, ssl=is_tls, **server_options | options
    )  # type: ignore[no-untyped-call]  # redis-py is untyped here
    return SharedRedis(connection_pool=sentinel_pool)


class _SentinelPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """A pool that asks the Sentinels at each connect, and closes the connections to them at the end."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Disconnect, and close the connections to the Sentinels at the end."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """The parts of a Sentinel URL."""

    sentinels: list[tuple[str, int]]
    service: str
    server_url: str  # user, database and options of the server; the Sentinels name its host


def _parse_sentinel_url(url: str) -> _Service | None:
    parts = urlsplit(url)
    if not parts.scheme.endswith(_SUFFIX):
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not (service and hosts and (not database or database.isdecimal())):
        raise ValueError(
            "REDIS_URL: a Sentinel URL is redis+sentinel://host:26379,host:26379/SERVICE[/DB]"
        )
    scheme = parts.scheme.removesuffix(_SUFFIX)
    return _Service(
        sentinels=[_parse_address(host) for host in hosts.split(",")],
        service=service,
        server_url=f"{scheme}://{user}@/{database}?{parts.query}",
    )


def _parse_address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"REDIS_URL: {host!r} is not a host of a Sentinel")
    return parts.hostname, parts.port or SENTINEL_PORT


def _split_sentinel_options(server_options: dict[str, Any], *, is_tls: bool) -> dict[str, Any]:
    """Split off the options of the Sentinels. Both sides share the TLS options."""
    sentinel_options = {
        name: server_options.pop(name) for name in [*server_options] if name.startswith("sentinel_")
    }
    shared = {name: value for name, value in server_options.items() if name.startswith("ssl_")}
    return {
        **shared,
        **{name.removeprefix("sentinel_"): value for name, value in sentinel_options.items()},
        "ssl": is_tls,
        "socket_timeout": CONNECT_S,
        "socket_connect_timeout": CONNECT_S,
    }

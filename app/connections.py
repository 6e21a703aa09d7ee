"""Connections to Redis by URL: one server (`redis`, `rediss`, `unix`), or whichever its Sentinels name.

`redis+sentinel://[user:password@]host:26379,host:26379/SERVICE[/DB]`; with `rediss+sentinel` both are spoken to by TLS.
Options follow as for `redis`, among them `sentinel_username` and `sentinel_password`.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.connection import parse_url as parse_url_async
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.connection import parse_url

SENTINEL_PORT = 26379
CONNECT_S = 2.0
COMMAND_S = 5.0
READ_S = 15.0  # thousands that ask at once keep an event loop from an answer for seconds
RETRIES = 10
AWAY_S = 5.0  # no try begins later: where there is no route, each takes seconds to fail
_SUFFIX = "+sentinel"

T = TypeVar("T")


def open_redis(url: str, timeout_s: float = COMMAND_S, **options: Any) -> "redis.Redis":
    """Connect when first used; `timeout_s` limits each command. Raises ValueError."""
    options |= {"socket_timeout": timeout_s, "socket_connect_timeout": CONNECT_S}
    if (watched := _watched(url)) is None:
        return redis.Redis.from_url(url, **options)
    given = parse_url(watched.server_url)  # type: ignore[no-untyped-call]  # redis-py is untyped here
    is_tls = given.pop("connection_class", None) is not None
    sentinels = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        watched.sentinels, sentinel_kwargs=_to_sentinels(given, is_tls=is_tls)
    )
    pool = redis.sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        watched.service, sentinels, ssl=is_tls, **given | options
    )
    return redis.Redis.from_pool(pool)


def open_readers(url: str, most: int) -> "redis.asyncio.Redis":
    """Connect asynchronously, by `most` connections that are waited for. Raises ValueError."""
    options: dict[str, Any] = {
        "max_connections": most,
        "socket_timeout": READ_S,
        "socket_connect_timeout": READ_S,
        "retry": _InTime(
            ExponentialBackoff(cap=0.5, base=0.01),
            RETRIES,
            # not where it is silent: each try would take its whole time limit, ten times over
            supported_errors=(redis.ConnectionError,),
        ),
    }
    if (watched := _watched(url)) is None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **options)
        return redis.asyncio.Redis.from_pool(pool)
    given: dict[str, Any] = dict(parse_url_async(watched.server_url))
    is_tls = given.pop("connection_class", None) is not None
    options["connection_class"] = _AskingByTls if is_tls else _Asking
    sentinels = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py is untyped here
        watched.sentinels, sentinel_kwargs=_to_sentinels(given, is_tls=is_tls)
    )
    return redis.asyncio.Redis.from_pool(_Watched(watched.service, sentinels, **given | options))  # type: ignore[no-untyped-call]  # redis-py is untyped here


class _InTime(Retry):
    """Tries again as redis-py does, but no longer than a caller can wait."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Call until it succeeds, fails for good, or the time is over."""
        ends_at = time.monotonic() + AWAY_S

        async def hang_up(error: Exception, *failures: int) -> None:
            await fail(error, *failures)
            if time.monotonic() > ends_at:
                raise error

        return await super().call_with_retry(do, hang_up, is_retryable, with_failure_count)


class _Asking(redis.asyncio.sentinel.SentinelManagedConnection):
    """A connection that asks the Sentinels anew once it is lost; redis-py's goes back to the address it had."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Connect to the master of now before anything is sent."""
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]  # redis-py is untyped here
        await super().send_packed_command(command, check_health)


class _AskingByTls(_Asking, redis.asyncio.connection.SSLConnection):
    """The same by TLS."""


class _Watched(redis.asyncio.sentinel.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """A pool that asks the Sentinels at each connect, and is waited for where it is used up."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Hang up, at the Sentinels too where it is the end."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """What a Sentinel URL names."""

    sentinels: list[tuple[str, int]]
    service: str
    server_url: (
        str  # with the server's user, database and options; its host is the Sentinels' to tell
    )


def _watched(url: str) -> _Service | None:
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
        sentinels=[_address(host) for host in hosts.split(",")],
        service=service,
        server_url=f"{scheme}://{user}@/{database}?{parts.query}",
    )


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"REDIS_URL: {host!r} is not a host of a Sentinel")
    return parts.hostname, parts.port or SENTINEL_PORT


def _to_sentinels(given: dict[str, Any], *, is_tls: bool) -> dict[str, Any]:
    """Take the Sentinels' own options out of those of the server; both share what is said of TLS."""
    own = {name: given.pop(name) for name in [*given] if name.startswith("sentinel_")}
    shared = {name: value for name, value in given.items() if name.startswith("ssl_")}
    return {
        **shared,
        **{name.removeprefix("sentinel_"): value for name, value in own.items()},
        "ssl": is_tls,
        "socket_timeout": CONNECT_S,
        "socket_connect_timeout": CONNECT_S,
    }

"""`klein doctor`: looks at everything that klein needs, and says what is wrong and what to do."""

import platform
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import click
import httpx
import redis

from app.commands import read_settings
from app.commands.doctor_host import look_at_host
from app.commands.doctor_weights import look_at_weights
from app.commands.findings import Finding, ok, problem, warning
from app.connections import open_redis
from app.embedded import OLDEST, NoServer, server_binary
from app.keys import KeyRing, given_keys
from app.predictions.errors import Unavailable
from app.predictions.worker_registry import WorkerRegistry
from app.settings import Settings
from app.storage import open_storage
from app.storage.errors import StorageError
from app.version import DISTRIBUTION

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
PROBE = "doctor/probe.txt"  # in the storage, for a moment
LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...]


@click.command()
def doctor() -> None:
    """Look at Redis, storage, weights, GPU and the rest: what is wrong, and what to do.

    Ends with 1 where something is a problem; a warning is none.
    """
    settings = read_settings()
    worst = "ok"
    for look in LOOKS:
        for finding in look(settings):
            mark = click.style(f"{finding.level:8}", fg=COLOURS[finding.level])
            click.echo(f"{mark} {finding.subject:9} {finding.words}")
            if finding.advice:
                click.echo(f"{'':18} → {finding.advice}")
            worst = max(worst, finding.level, key=list(COLOURS).index)
    if worst == "problem":
        raise SystemExit(1)


def _versions(_settings: Settings) -> Iterator[Finding]:
    names = (DISTRIBUTION, "fastapi", "redis", "rq", "torch", "diffusers")
    found = []
    for name in names:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    yield ok("versions", f"Python {platform.python_version()}, {', '.join(found)}")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        with open_redis(settings.redis, retry=None) as connection:
            told = connection.info()
            yield from _judge_redis(told, settings)
            workers = WorkerRegistry(connection).present()
    except (redis.RedisError, Unavailable, ValueError) as exc:
        if settings.redis_url is None:
            yield from _embedded()
        else:
            words = f"does not answer at {settings.redis_shown}: {exc}"
            yield problem("redis", words, "start it, or set REDIS_URL to one that runs")
        return
    if workers:
        yield ok("workers", "; ".join(f"{w.name}: {w.weights}" for w in workers))
    else:
        yield warning("workers", "none is ready", "start `klein up`, or `klein worker`")


def _judge_redis(told: dict[str, str | int], settings: Settings) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in told else "Redis"
    number = str(told.get("valkey_version") or told["redis_version"])
    where = f"{name} {number} at {settings.redis_shown}"
    if tuple(map(int, number.split(".")[:2])) < tuple(map(int, OLDEST.split("."))):
        yield problem("redis", where, f"klein needs {OLDEST} or newer")
    else:
        yield ok("redis", where)
    if not told.get("aof_enabled"):
        advice = "set `appendonly yes`: without it a crash loses accepted predictions"
        yield warning("redis", "keeps no append-only file", advice)
    if told.get("maxmemory_policy") not in {"noeviction", None}:
        words = f"may throw records away: maxmemory-policy is {told['maxmemory_policy']}"
        yield problem("redis", words, "set `maxmemory-policy noeviction`")
    most, used = int(told.get("maxmemory") or 0), int(told.get("used_memory") or 0)
    if most and used > 0.9 * most:
        words = f"uses {used / most:.0%} of its maxmemory"
        yield warning("redis", words, "raise maxmemory, or shorten KLEIN_RETENTION")


def _embedded() -> Iterator[Finding]:
    try:
        yield ok("redis", f"not running; `klein up` starts {server_binary()}")
    except NoServer as exc:
        yield problem("redis", "REDIS_URL is not set, and there is none to start", str(exc))


def _storage(settings: Settings) -> Iterator[Finding]:
    try:
        storage = open_storage(settings.storage)
        storage.put(PROBE, b"klein")
        is_kept = storage.get(PROBE) == b"klein"
        storage.delete(PROBE.partition("/")[0])
    except (StorageError, OSError, ValueError) as exc:
        advice = "let klein write there, or set STORAGE_URL or KLEIN_DATA"
        if settings.storage.startswith("s3:"):
            advice = "the bucket must be there and open to the keys: see STORAGE_URL and AWS_* in docs/storage.md"
        yield problem("storage", f"{settings.storage}: {exc}", advice)
        return
    if is_kept:
        yield ok("storage", f"{settings.storage} takes and gives files")
    else:
        yield problem("storage", f"{settings.storage} gives back something else", "use another")


def _keys(settings: Settings) -> Iterator[Finding]:
    kept = []
    with (
        suppress(Unavailable, ValueError),  # said above
        open_redis(settings.redis, retry=None) as connection,
    ):
        kept = KeyRing(connection, frozenset()).list()
    if kept or given_keys(settings.api_keys, settings.data):
        yield ok("keys", "there are some, by setting or in Redis")
    else:
        advice = "the first `klein up` makes one; `klein keys create NAME` makes more"
        yield warning("keys", "none by KLEIN_API_KEYS, and none in Redis", advice)


def _port(settings: Settings) -> Iterator[Finding]:
    where = f"{settings.host}:{settings.port}"
    try:
        socket.create_server((settings.host, settings.port)).close()
    except OSError as exc:
        yield _who_listens(settings, where, exc.strerror or str(exc))
    else:
        yield ok("port", f"{where} is free")


def _who_listens(settings: Settings, where: str, reason: str) -> Finding:
    try:
        told = httpx.get(f"{settings.address}/readyz", timeout=5, trust_env=False)
        return ok("port", f"klein answers at {where}: {told.json()['status']}")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        advice = "end what listens there, or set KLEIN_HOST and KLEIN_PORT"
        return problem("port", f"cannot listen on {where}: {reason}", advice)


LOOKS = (_versions, _redis, _storage, _keys, _port, look_at_weights, look_at_host)

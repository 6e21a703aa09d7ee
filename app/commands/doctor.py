"""`klein doctor`: checks everything that klein needs, and says how to fix problems."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import click
import httpx
import redis

from app.address import require_free
from app.commands.doctor_host import check_host
from app.commands.doctor_keys import check_keys
from app.commands.doctor_weights import check_weights
from app.commands.findings import Finding, ok, problem, warning
from app.commands.settings import read_settings
from app.commands.variables import unknown_variables
from app.connections import open_redis
from app.embedded import OLDEST, NoServer, server_binary
from app.predictions.errors import Unavailable
from app.predictions.worker_registry import WorkerRegistry
from app.redis_requirements import unmet_requirements
from app.settings import Settings
from app.storage import open_storage
from app.storage.errors import StorageError
from app.version import DISTRIBUTION

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
PROBE = "doctor/probe.txt"  # written to the storage and deleted
CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...]


@click.command()
def doctor() -> None:
    """Check Redis, storage, weights and GPU, and say how to fix problems.

    The exit code is 1 if there is a problem, and 0 if there are only warnings.
    """
    settings = read_settings()
    worst = "ok"
    for check in CHECKS:
        for finding in check(settings):
            mark = click.style(f"{finding.level:8}", fg=COLOURS[finding.level])
            click.echo(f"{mark} {finding.subject:9} {finding.text}")
            if finding.advice:
                click.echo(f"{'':18} → {finding.advice}")
            worst = max(worst, finding.level, key=list(COLOURS).index)
    if worst == "problem":
        raise SystemExit(1)


def _versions(_settings: Settings) -> Iterator[Finding]:
    names = (DISTRIBUTION, "fastapi", "redis", "rq", "torch", "diffusers")
    installed = []
    for name in names:
        with suppress(PackageNotFoundError):
            installed.append(f"{name} {version(name)}")
    yield ok("versions", f"Python {platform.python_version()}, {', '.join(installed)}")


def _settings(_settings: Settings) -> Iterator[Finding]:
    unknown = unknown_variables(os.environ)
    for text in unknown:
        yield warning("settings", text, "see docs/configuration.md")
    if not unknown:
        yield ok("settings", "no unknown KLEIN_ variable")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        with open_redis(settings.redis, retry=None) as connection:
            info = connection.info()
            yield from _check_redis(info, settings)
            for unmet in unmet_requirements(
                connection, is_volatile_allowed=settings.allow_volatile_redis
            ):
                yield problem("redis", unmet.text, unmet.advice)
            workers = WorkerRegistry(connection).present()
    except (redis.RedisError, Unavailable, ValueError) as exc:
        if settings.redis_url is None:
            yield from _embedded()
        else:
            text = f"does not answer at {settings.redis_shown}: {exc}"
            yield problem("redis", text, "start it, or correct REDIS_URL")
        return
    if workers:
        yield ok("workers", "; ".join(f"{w.name}: {w.weights}" for w in workers))
    else:
        yield warning("workers", "no worker is ready", "start `klein up` or `klein worker`")


def _check_redis(info: dict[str, str | int], settings: Settings) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in info else "Redis"
    number = str(info.get("valkey_version") or info["redis_version"])
    where = f"{name} {number} at {settings.redis_shown}"
    if tuple(map(int, number.split(".")[:2])) < tuple(map(int, OLDEST.split("."))):
        yield problem("redis", where, f"upgrade it to {OLDEST} or newer")
    else:
        yield ok("redis", where)
    if not info.get("aof_enabled"):
        advice = "set `appendonly yes`; otherwise a crash loses accepted predictions"
        yield warning("redis", "writes no append-only file", advice)
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if limit and used > 0.9 * limit:
        text = f"uses {used / limit:.0%} of its maxmemory"
        yield warning("redis", text, "raise maxmemory, or shorten KLEIN_RETENTION")


def _embedded() -> Iterator[Finding]:
    try:
        yield ok("redis", f"not running; `klein up` starts {server_binary()}")
    except NoServer as exc:
        yield problem("redis", "REDIS_URL is not set, and there is no server to start", str(exc))


def _storage(settings: Settings) -> Iterator[Finding]:
    try:
        storage = open_storage(settings.storage)
    except ValueError as exc:
        advice = "correct STORAGE_URL and the AWS_* variables: see docs/storage.md"
        yield problem("storage", f"{settings.storage}: {exc}", advice)
        return
    try:
        storage.put(PROBE, b"klein")
        is_same = storage.get(PROBE) == b"klein"
        storage.delete(PROBE.partition("/")[0])
    except (StorageError, OSError) as exc:
        yield problem("storage", f"{settings.storage}: {exc}", storage.requirement)
        return
    if is_same:
        yield ok("storage", f"{settings.storage} stores and returns files")
    else:
        text = f"{settings.storage} does not return what was stored"
        yield problem("storage", text, storage.requirement)


def _loras(settings: Settings) -> Iterator[Finding]:
    if settings.loras is not None and not settings.loras.is_dir():
        text = f"KLEIN_LORAS={settings.loras}: no such folder"
        yield problem("loras", text, "create it, or correct KLEIN_LORAS")


def _port(settings: Settings) -> Iterator[Finding]:
    where = f"{settings.host}:{settings.port}"
    try:
        require_free(settings.host, settings.port)
    except ValueError as exc:
        yield _check_listener(settings, where, str(exc).partition("; ")[0])
    else:
        yield ok("port", f"{where} is free")


def _check_listener(settings: Settings, where: str, reason: str) -> Finding:
    try:
        response = httpx.get(f"{settings.address}/readyz", timeout=5, trust_env=False)
        return ok("port", f"klein answers at {where}: {response.json()['status']}")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        advice = "stop the program that uses the port, or set KLEIN_HOST and KLEIN_PORT"
        return problem("port", reason, advice)


CHECKS = (
    _versions,
    _settings,
    _redis,
    _storage,
    check_keys,
    _port,
    _loras,
    check_weights,
    check_host,
)

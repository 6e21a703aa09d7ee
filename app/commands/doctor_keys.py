"""Checks for `klein doctor` that there are API keys, where this process may read them."""

from collections.abc import Iterator

import redis

from app.commands.findings import Finding, ok, problem, warning
from app.connections import open_redis
from app.keys import KeyRing, configured_keys, weak_key_problem
from app.predictions.errors import Unavailable
from app.settings import Settings


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Check the keys of the settings and in Redis. The Redis user of workers and couriers may not read them."""
    if weak := weak_key_problem(settings.api_keys):
        text, _, advice = weak.partition("; ")
        yield problem("keys", text, advice)
        return
    stored = []
    try:
        with open_redis(settings.redis, retry=None) as connection:
            stored = KeyRing(connection, frozenset()).list()
    except Unavailable as exc:
        if isinstance(exc.__cause__, redis.exceptions.NoPermissionError):
            yield ok("keys", "only the API needs them: this user of Redis may not read them")
            return
    except ValueError:
        pass  # a wrong URL is reported by the check of Redis
    if stored or configured_keys(settings.api_keys, settings.data):
        yield ok("keys", "API keys are set up")
    else:
        advice = "the first `klein up` creates one; `klein keys create NAME` creates more"
        yield warning("keys", "there is no API key in KLEIN_API_KEYS or in Redis", advice)

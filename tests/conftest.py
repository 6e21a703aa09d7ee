from collections.abc import Iterator

import pytest
import redis

from tests.redis_server import RedisServer, running_redis

pytest_plugins = ["tests.tiny_weights"]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real Redis for the whole run; tests that stop it start their own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def connection(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A connection to an empty Redis."""
    with redis_server.connect() as connection:
        connection.flushall()
        yield connection

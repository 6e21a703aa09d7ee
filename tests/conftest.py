from collections.abc import Iterator

import pytest
import redis

from tests.redis_server import RedisServer, running_redis
from tests.s3_server import S3Server, running_s3

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One real S3 server for the whole run; tests that stop it start their own."""
    with running_s3() as server:
        yield server

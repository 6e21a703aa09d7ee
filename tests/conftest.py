from collections.abc import Iterator

import httpx
import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.support.klein_server import Klein
from tests.support.redis_server import RedisServer, running_redis
from tests.support.s3_server import S3Server, running_s3

pytest_plugins = ["tests.support.running_test", "tests.support.tiny_weights"]

settings.register_profile("short", derandomize=True, deadline=None, max_examples=60)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=500,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("short")  # `make fuzz` takes the other one


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real Redis for the whole run. Tests that stop it start their own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def connection(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A connection to an empty Redis."""
    with redis_server.connect() as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def client(klein: Klein) -> Iterator[httpx.Client]:
    """A client of the fixture `klein` of the test's folder or module."""
    with klein.client() as client:
        yield client


@pytest.fixture
def other_client(klein: Klein) -> Iterator[httpx.Client]:
    """A client with another key."""
    with klein.client(klein.other_key) as client:
        yield client


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One real S3 server for the whole run. Tests that stop it start their own."""
    with running_s3() as server:
        yield server

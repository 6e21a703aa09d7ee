"""The Redis client whose threads keep a connection each, on a real Redis that stops and starts."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tests.support.redis_server import running_redis
from worker.thread_connections import ThreadConnections


@pytest.fixture
def client(redis_server):
    client = ThreadConnections(redis_server.url)
    yield client
    client.connection_pool.disconnect()


def test_thread_keeps_its_connection(client):
    """The commands of a thread use one connection, and those of another thread another one."""
    with ThreadPoolExecutor(1) as other:
        here = {client.client_id() for _ in range(3)}
        there = {other.submit(client.client_id).result() for _ in range(3)}

    assert (len(here), len(there)) == (1, 1)
    assert here != there


def test_stopped_server_is_connection_error():
    """While the server is stopped a command raises ConnectionError. Once it runs again the same thread connects again."""
    with running_redis() as server:
        client = ThreadConnections(server.url)
        assert client.ping()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()

        assert client.ping()
        client.connection_pool.disconnect()


def test_restarted_server_is_connected_again():
    """A server that was restarted between two commands is not noticed."""
    with running_redis() as server:
        client = ThreadConnections(server.url)
        client.set("key", "value")
        server.kill()
        server.start()

        assert client.get("key") == b"value"
        client.connection_pool.disconnect()


def test_command_of_two_words_is_sent_as_two(client):
    """A command that redis-py names with a space reaches the server, and its reply has redis-py's form."""
    assert client.client_setname("worker") is True
    assert client.client_getname() == "worker"


def test_error_reply_keeps_connection(client):
    """A command that the server refuses raises its error, in the same connection."""
    first = client.client_id()
    with pytest.raises(redis.ResponseError, match="wrong number"):
        client.execute_command("GET")

    assert client.client_id() == first

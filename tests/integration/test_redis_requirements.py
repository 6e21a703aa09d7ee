"""The requirements on a Redis server, on a real one that is configured wrongly."""

import subprocess

import pytest
import redis
from fastapi.testclient import TestClient

from app.commands.api import api
from app.connections import open_redis
from app.embedded import server_binary
from app.main import create_app
from app.redis_requirements import CACHED_S, RedisCheck, require_redis, unmet_requirements
from app.settings import Settings
from benchmarks.processes import free_port
from tests.support import processes
from tests.support.fakes import eventually
from tests.support.redis_server import running_redis
from worker import courier
from worker import main as worker

WRONG = {
    "eviction": ({"maxmemory-policy": "allkeys-lru"}, "set `maxmemory-policy noeviction`"),
    "volatile": ({"appendonly": "no", "save": ""}, "set `appendonly yes`"),
}


@pytest.fixture(params=WRONG)
def wrong(request):
    """A server with one wrong setting, and what to do about it."""
    options, advice = WRONG[request.param]
    with running_redis() as server, server.connect() as connection:
        for name, value in options.items():
            connection.config_set(name, value)
        yield server, advice


def test_wrong_server_is_refused_at_start(wrong):
    """A server that evicts, or that keeps nothing on disk, is refused with what to do."""
    server, advice = wrong

    with pytest.raises(ValueError, match=f"^Redis at here: .*{advice}"):
        require_redis(server.url, "here", is_volatile_allowed=False)


@pytest.mark.parametrize("main", [worker.main, courier.main])
def test_processes_refuse_wrong_server(wrong, monkeypatch, tmp_path, main):
    """A worker and a courier end with one line before they do anything."""
    server, advice = wrong
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("KLEIN_DATA", str(tmp_path))

    with pytest.raises(SystemExit, match=advice):
        main()


def test_api_refuses_wrong_server(wrong, monkeypatch, tmp_path):
    """The API ends with one line before it listens."""
    server, advice = wrong
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("KLEIN_DATA", str(tmp_path))
    monkeypatch.setenv("KLEIN_API_KEYS", "a-key-of-more-than-thirty-two-characters")

    with pytest.raises(Exception, match=advice):
        api.main([], standalone_mode=False)


@pytest.fixture
def loading():
    """A server that loads its append-only file for as long as the test runs."""
    with running_redis() as server:
        with server.connect() as connection:
            connection.mset({str(number): "x" * 1000 for number in range(5000)})
            connection.bgrewriteaof()
            eventually(lambda: not connection.info()["aof_rewrite_in_progress"])
        server.kill()
        server.begin("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
        yield server


def test_server_that_loads_its_data_is_not_refused(loading):
    """While a server loads its append-only file it says that it writes none. It counts as one that cannot be reached yet."""
    with loading.connect() as connection:

        def is_loading() -> bool:
            try:
                return bool(connection.info()["loading"])
            except redis.ConnectionError:  # it does not listen yet
                return False

        eventually(is_loading)
        assert not connection.info()["aof_enabled"]
        with pytest.raises(redis.BusyLoadingError):
            RedisCheck(connection, is_volatile_allowed=False).unmet()

    require_redis(loading.url, "here", is_volatile_allowed=False)


def test_server_that_becomes_wrong_is_unready(connection):
    """A change of the configuration while klein runs is found, and found again at the next check only."""
    check = RedisCheck(connection, is_volatile_allowed=False)
    assert check.unmet() is None
    connection.config_set("maxmemory-policy", "volatile-lru")
    try:
        assert check.unmet() is None  # cached
        assert "noeviction" in str(RedisCheck(connection, is_volatile_allowed=False).unmet())
    finally:
        connection.config_set("maxmemory-policy", "noeviction")
    assert CACHED_S > 0


def test_readyz_names_unmet_requirement(redis_server, connection, tmp_path):
    """`/readyz` is 503 and says what to do."""
    settings = Settings(redis_url=redis_server.url, data=tmp_path)
    connection.config_set("maxmemory-policy", "volatile-lru")
    try:
        with TestClient(create_app(settings)) as client:
            response = client.get("/readyz")
    finally:
        connection.config_set("maxmemory-policy", "noeviction")

    assert response.status_code == 503
    assert "set `maxmemory-policy noeviction`" in response.json()["status"]


def test_snapshots_are_enough_and_volatile_can_be_allowed(connection):
    """Snapshots count as a copy on disk. The operator can allow a server without any."""
    connection.config_set("appendonly", "no")
    try:
        assert len(list(unmet_requirements(connection, is_volatile_allowed=False))) == 1
        assert list(unmet_requirements(connection, is_volatile_allowed=True)) == []
        connection.config_set("save", "60 1")
        assert list(unmet_requirements(connection, is_volatile_allowed=False)) == []
    finally:
        connection.config_set("save", "")
        connection.config_set("appendonly", "yes")


def test_cluster_is_refused(tmp_path):
    """A real server in cluster mode is named as such."""
    port = free_port()
    options = {"port": str(port), "cluster-enabled": "yes", "dir": str(tmp_path)}
    command = [server_binary(), *(part for o, v in options.items() for part in (f"--{o}", v))]
    server = processes.start(command, stdout=subprocess.DEVNULL)
    try:
        with open_redis(f"redis://127.0.0.1:{port}", retry=None) as connection:
            eventually(lambda: answers(connection))
            found = list(unmet_requirements(connection, is_volatile_allowed=True))
    finally:
        processes.end(server)

    assert [unmet.text for unmet in found] == [
        "it is a Redis Cluster, which klein does not support"
    ]


def answers(connection):
    try:
        return connection.ping()
    except redis.ConnectionError:
        return False


def test_server_that_does_not_answer_is_left_to_later(tmp_path):
    """Without an answer nothing is refused: the process waits for the server as usual."""
    require_redis(f"unix://{tmp_path}/none.sock", "here", is_volatile_allowed=False)


def test_user_without_permissions_is_not_refused(redis_server, connection):
    """A Redis user that may not read the configuration is no reason to refuse."""
    connection.execute_command("ACL", "SETUSER", "plain", "on", ">x", "~*", "+info", "+hello")
    connection.config_set("appendonly", "no")
    try:
        with redis.Redis(
            unix_socket_path=str(redis_server.socket), username="plain", password="x"
        ) as plain:
            assert list(unmet_requirements(plain, is_volatile_allowed=False)) == []
    finally:
        connection.config_set("appendonly", "yes")
        connection.execute_command("ACL", "DELUSER", "plain")

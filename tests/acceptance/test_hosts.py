"""Api, courier, workers and Redis on separate hosts. They share only a network and one folder of files."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import redis

from app.embedded import server_binary
from app.predictions.prediction import Prediction
from app.predictions.record_reader import decode
from app.predictions.redis_keys import record_key
from tests.chaos.system import Part
from tests.support.api_client import create, fetch, get, order, run, until
from tests.support.network_namespaces import Host, Network, network

pytestmark = pytest.mark.timeout(180)

SLOW: dict[str, Any] = {"prompt": "slow", "num_inference_steps": 50, "num_images": 2}
"""Takes at least five seconds."""
KEY = "a-key-of-more-than-thirty-two-characters"
ANSWERED_S = 30  # the promise to clients


class Site:
    """The hosts and their processes."""

    def __init__(self, network: Network, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = folder
        self.redis, self.api, self.courier = (network.add(n) for n in ("redis", "api", "courier"))
        self.workers = [network.add("worker1"), network.add("worker2")]
        self.url = f"http://{network.lead_in(self.api)}:8000"
        self._redis_url = "redis://:a-password@{}:6379/0"
        self.connection = redis.Redis.from_url(
            self._redis_url.format(network.lead_in(self.redis)), retry=None
        )
        stack.callback(self.connection.close)
        (folder / "redis").mkdir()
        options = ["--bind", "0.0.0.0", "--requirepass", "a-password", "--save", ""]
        options += ["--dir", str(folder / "redis"), "--appendonly", "yes"]
        self._keep(self.redis.start([server_binary(), *options]))
        until(self._redis_answers)
        self._keep(self._start(self.api, "app.cli", "api"))
        self._keep(self._start(self.courier, "app.cli", "courier"))

    @contextmanager
    def worker(self, host: Host) -> Iterator[Part]:
        """Run a worker without a model, and wait until it is ready."""
        part = self._start(host, "tests.chaos.process", "worker")
        try:
            until(lambda: any("engine_ready" in line for line in part.tail), within_s=60)
            yield part
        finally:
            host.heal()
            part.stop()

    def record(self, prediction_id: str) -> Prediction:
        """Read a record as the store keeps it."""
        record = cast("bytes | None", self.connection.get(record_key(prediction_id)))
        return decode(record, prediction_id)

    def is_lease_over(self, prediction_id: str) -> bool:
        """Return whether the lease of the prediction's owner has expired, by Redis's own clock."""
        lease_until = self.record(prediction_id).lease_until
        seconds, _ = self.connection.time()
        return lease_until is not None and lease_until.timestamp() < seconds

    def owners(self, prediction_id: str) -> list[str]:
        """List the attempts that left files."""
        return [p.name for p in (self._folder / "shared" / prediction_id).iterdir()]

    def _start(self, host: Host, *arguments: str) -> Part:
        return host.python(
            *arguments,
            REDIS_URL=self._redis_url.format(self.redis.address),
            STORAGE_URL=f"file://{self._folder / 'shared'}",
            KLEIN_DATA=str(self._folder / host.name),  # separate on each host
            KLEIN_HOST="0.0.0.0",
            KLEIN_API_KEYS=KEY,
            KLEIN_URL_SECRET="a-secret",
            KLEIN_WEIGHTS=str(self._folder),
        )

    def _keep(self, part: Part) -> None:
        self._stack.callback(part.stop)

    def _redis_answers(self) -> bool:
        try:
            return bool(self.connection.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with network() as hosts_network, ExitStack() as stack:
        yield Site(hosts_network, tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=site.url, headers={"X-API-Key": KEY}, timeout=60, trust_env=False
    ) as client:
        until(lambda: is_alive(client))
        yield client


def is_alive(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.ConnectError:  # it is still starting
        return False


@pytest.mark.slow
def test_prediction_runs_across_hosts(site: Site, client: httpx.Client) -> None:
    """One host accepts a prediction, another runs it, and the first serves it. Redis refuses clients without the password."""
    with site.worker(site.workers[0]):
        prediction = run(client)

        assert fetch(prediction["output"])[:8] == b"\x89PNG\r\n\x1a\n"
    host = site.connection.connection_pool.connection_kwargs["host"]
    with redis.Redis(host) as other_client, pytest.raises(redis.AuthenticationError):
        other_client.ping()


@pytest.mark.slow
def test_partitioned_worker_is_replaced_by_another_host(site: Site, client: httpx.Client) -> None:
    """A worker that loses the network during a run is replaced once its lease has expired. Reconnected, it changes nothing."""
    first, second = site.workers
    with site.worker(first) as cut_off:
        prediction_id = create(client, **SLOW)
        until(lambda: site.record(prediction_id).step)
        late = site.record(prediction_id).owner
        first.cut()
        with site.worker(second):
            prediction = get(client, prediction_id, wait=60)
            taken_over = site.record(prediction_id)
        first.heal()
        assert get(client, create(client), wait=60)["status"] == "success"  # by the first again

        assert (prediction["status"], taken_over.attempt) == ("success", 2)
        assert taken_over.owner != late
        assert site.record(prediction_id) == taken_over
        assert site.owners(prediction_id) == [taken_over.owner]
        assert cut_off.starts == 1


@pytest.mark.slow
def test_only_worker_continues_after_partition(site: Site, client: httpx.Client) -> None:
    """The only worker is cut off for longer than its lease, then stores its result: one end, one set of files."""
    alone = site.workers[0]
    with site.worker(alone) as cut_off:
        prediction_id = create(client, **SLOW)
        until(lambda: site.record(prediction_id).step)
        alone.cut()
        until(lambda: site.is_lease_over(prediction_id))
        alone.heal()
        prediction = get(client, prediction_id, wait=60)
        ended = site.record(prediction_id)
        assert get(client, create(client), wait=60)["status"] == "success"  # by the same process

        assert prediction["status"] == "success"
        assert site.record(prediction_id) == ended
        assert site.owners(prediction_id) == [ended.owner]
        assert cut_off.starts == 1


@pytest.mark.slow
def test_partitioned_api_returns_503_and_recovers(site: Site, client: httpx.Client) -> None:
    """Clients of a cut-off api are told when to retry. After the outage the same address works."""
    with site.worker(site.workers[0]):
        prediction_id = create(client)
        site.api.cut()
        try:
            refused = client.get(f"/v1/prediction/{prediction_id}", timeout=ANSWERED_S)
            created = client.post("/v1/prediction", json=order(), timeout=ANSWERED_S)
            alive = client.get("/livez")
        finally:
            site.api.heal()

        assert (refused.status_code, created.status_code, alive.status_code) == (503, 503, 200)
        assert int(refused.headers["Retry-After"]) > 0
        until(lambda: client.get("/readyz").status_code == 200)
        assert get(client, prediction_id, wait=60)["status"] == "success"

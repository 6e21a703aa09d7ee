"""deploy/k8s as shipped, in a Kubernetes cluster: no prediction is lost with a pod, a rollout or an eviction.

KLEIN_TEST_KUBECONFIG names the cluster. It must have the images klein-api:0.1.0, klein-worker-cpu:0.1.0 and valkey/valkey:8.1, and
provide storage for claims. The test works in namespaces of its own, which it removes.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import free_port
from tests.support import processes
from tests.support.api_client import LONG, create, ended, fetch, is_ready, is_running, run, until

ROOT = Path(__file__).parents[2]
KUBECONFIG = "KLEIN_TEST_KUBECONFIG"
KUBECTL = str(Path(sys.executable).parent / "kubectl")
KEY = "cluster-key-of-more-than-thirty-two-characters"
BACK_S = 120  # a pod is scheduled, and its worker loads the model
REDIS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "redis"},
    "spec": {
        "containers": [
            {
                "name": "redis",
                "image": "valkey/valkey:8.1",
                "command": ["valkey-server", "--protected-mode", "no", "--appendonly", "yes"],
            }
        ]
    },
}
"""The cluster's Redis, in a namespace of its own, because klein's namespace accepts only requests for klein."""

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get(KUBECONFIG), reason=f"{KUBECONFIG} is not set"),
]


class Cluster:
    """klein in a namespace of its own, and a connection to its api."""

    def __init__(self, folder: Path) -> None:
        self._name = f"klein-test-{os.getpid()}"
        self._port = free_port()
        self._overlay = folder
        self.url = f"http://127.0.0.1:{self._port}"
        shipped = os.path.relpath(ROOT / "deploy" / "k8s" / "overlays" / "cpu", folder)
        url = {
            "name": "klein",
            "namespace": "klein",
            "behavior": "merge",
            "literals": [f"KLEIN_PUBLIC_URL={self.url}"],
        }
        overlay = {
            "namespace": self._name,
            "resources": [shipped],
            "configMapGenerator": [url],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(overlay))

    def kubectl(self, *arguments: str, document: Any = None) -> str:
        """Run kubectl in klein's namespace. Raises CalledProcessError."""
        command = [KUBECTL, "--kubeconfig", os.environ[KUBECONFIG], "-n", self._name, *arguments]
        text = None if document is None else json.dumps(document)
        return processes.run(command, check=True, input=text, stderr=None, timeout_s=600).stdout

    def up(self) -> None:
        """Follow docs/deploying.md, with a Redis inside the cluster."""
        redis = f"{self._name}-redis"
        for name in (redis, self._name):
            self.kubectl("create", "namespace", name, "--save-config")
        self.kubectl("-n", redis, "apply", "-f", "-", document=REDIS)
        self.kubectl(
            "-n", redis, "wait", "pod/redis", "--for=condition=Ready", f"--timeout={BACK_S}s"
        )
        address = self.kubectl("-n", redis, "get", "pod/redis", "-o", "jsonpath={.status.podIP}")
        secrets = {
            "REDIS_API_URL": f"redis://{address}:6379/0",
            "REDIS_WORKER_URL": f"redis://{address}:6379/0",
            "KLEIN_URL_SECRET": "a-secret",
            "KLEIN_API_KEYS": KEY,
        }
        literals = [f"--from-literal={name}={value}" for name, value in secrets.items()]
        self.kubectl("create", "secret", "generic", "klein", *literals)
        self.kubectl("apply", "-k", str(self._overlay))

    def down(self) -> None:
        """Delete both namespaces."""
        names = (self._name, f"{self._name}-redis")
        self.kubectl("delete", "namespace", *names, "--ignore-not-found")

    def pods(self, part: str) -> list[str]:
        """Return the names of a part's pods."""
        chosen = f"app.kubernetes.io/component={part}"
        return self.kubectl("get", "pods", "-l", chosen, "-o", "name").split()

    def roll_out(self, part: str) -> None:
        """Restart a part's pods, and wait until Kubernetes reports that the rollout is done."""
        self.kubectl("rollout", "restart", f"deployment/{part}")
        self.kubectl("rollout", "status", f"deployment/{part}", f"--timeout={BACK_S}s")

    def is_worker_ready(self) -> bool:
        """Return whether a worker is announced, according to the api in its pod."""
        ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz')"
        try:
            self.kubectl("exec", "deployment/api", "--", "python", "-c", ask)
        except subprocess.CalledProcessError:
            return False
        return True

    def evict(self, pod: str) -> bool:
        """Evict a pod as a node drain does. Return False if its disruption budget forbids it."""
        name = pod.removeprefix("pod/")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{self._name}/pods/{name}/eviction"
        try:
            self.kubectl("create", "--raw", path, "-f", "-", document=eviction)
        except subprocess.CalledProcessError:
            return False
        return True

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Open a client that forwards the port again whenever the api's pod is gone."""
        is_over = threading.Event()
        forward = [KUBECTL, "--kubeconfig", os.environ[KUBECONFIG], "-n", self._name]
        forward += ["port-forward", "service/api", f"{self._port}:80"]

        def keep_forwarding() -> None:
            while not is_over.wait(0.2):
                with processes.started(
                    forward, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                ) as running:
                    while running.poll() is None and not is_over.wait(0.2):
                        pass

        forwarder = threading.Thread(target=keep_forwarding)
        forwarder.start()
        try:
            with httpx.Client(
                base_url=self.url, headers={"X-API-Key": KEY}, timeout=60, trust_env=False
            ) as client:
                yield client
        finally:
            is_over.set()
            forwarder.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    deployment = Cluster(tmp_path)
    try:
        yield deployment
    finally:
        deployment.down()


def create_running_prediction(client: httpx.Client) -> str:
    """Create a long prediction, and wait until a worker runs it."""
    prediction_id = create(client, **LONG)
    until(lambda: is_running(client, prediction_id), within_s=BACK_S)
    return prediction_id


def test_pod_deaths_lose_no_prediction(cluster: Cluster) -> None:
    """Every pod of each part dies during a run, then all are rolled out: each prediction succeeds, and the first image stays."""
    began = time.monotonic()
    cluster.up()
    with cluster.client() as client:
        until(lambda: is_ready(client), within_s=BACK_S)
        url = str(run(client)["output"])
        print(f"first image after {time.monotonic() - began:.1f} s")  # noqa: T201 -- the figure of docs/deploying.md
        image = fetch(url)

        for part in ("worker", "courier", "api"):
            prediction_id = create_running_prediction(client)
            cluster.kubectl("delete", *cluster.pods(part), "--force", "--grace-period=0")
            status = until(lambda: ended(client, prediction_id), within_s=BACK_S)  # noqa: B023 -- called at once
            assert (part, status) == (part, "success")
            until(lambda: is_ready(client), within_s=BACK_S)

        for part in ("worker", "courier", "api"):
            prediction_id = create_running_prediction(client)
            cluster.roll_out(part)
            assert cluster.is_worker_ready()  # not still loading when the next one is evicted
            status = until(lambda: ended(client, prediction_id), within_s=BACK_S)  # noqa: B023 -- called at once
            assert (part, status) == (part, "success")

        until(lambda: is_ready(client), within_s=BACK_S)
        assert fetch(url) == image
        assert not all(cluster.evict(pod) for pod in cluster.pods("api"))

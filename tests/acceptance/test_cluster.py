"""deploy/k8s as it ships, in a Kubernetes cluster: no prediction is lost with a pod, a rollout or an eviction.

KLEIN_TEST_KUBECONFIG names the cluster. It must have the images klein-api:0.1.0, klein-worker-cpu:0.1.0 and redis:7.4-bookworm, and
give storage to claims. The test works in namespaces of its own, which it removes.
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
KEY = "cluster-key"
BACK_S = 120  # a pod is scheduled, its worker loads the model
REDIS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "redis"},
    "spec": {
        "containers": [
            {
                "name": "redis",
                "image": "redis:7.4-bookworm",
                "command": ["redis-server", "--protected-mode", "no", "--appendonly", "yes"],
            }
        ]
    },
}
"""The cluster's own part, in a namespace of its own, since klein's lets only klein's requests in."""

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get(KUBECONFIG), reason=f"{KUBECONFIG} is not set"),
]


class Cluster:
    """klein in a namespace of its own, and a way to its api."""

    def __init__(self, folder: Path) -> None:
        self._name = f"klein-test-{os.getpid()}"
        self._port = free_port()
        self._overlay = folder
        self.url = f"http://127.0.0.1:{self._port}"
        shipped = os.path.relpath(ROOT / "deploy" / "k8s" / "overlays" / "cpu", folder)
        overlay = {"namespace": self._name, "resources": [shipped]}
        (folder / "kustomization.yaml").write_text(json.dumps(overlay))

    def say(self, *arguments: str, given: Any = None) -> str:
        """Run kubectl in klein's namespace. Raises CalledProcessError."""
        command = [KUBECTL, "--kubeconfig", os.environ[KUBECONFIG], "-n", self._name, *arguments]
        text = None if given is None else json.dumps(given)
        return processes.run(command, check=True, input=text, stderr=None, timeout_s=600).stdout

    def up(self) -> None:
        """Do as docs/deploying.md says, with a Redis of the cluster's own."""
        redis = f"{self._name}-redis"
        for name in (redis, self._name):
            self.say("create", "namespace", name, "--save-config")
        self.say("-n", redis, "apply", "-f", "-", given=REDIS)
        self.say("-n", redis, "wait", "pod/redis", "--for=condition=Ready", f"--timeout={BACK_S}s")
        address = self.say("-n", redis, "get", "pod/redis", "-o", "jsonpath={.status.podIP}")
        settings = {
            "REDIS_URL": f"redis://{address}:6379/0",
            "KLEIN_URL_SECRET": "a-secret",
            "KLEIN_API_KEYS": KEY,
            "KLEIN_PUBLIC_URL": self.url,
        }
        literals = [f"--from-literal={name}={value}" for name, value in settings.items()]
        self.say("create", "secret", "generic", "klein", *literals)
        self.say("apply", "-k", str(self._overlay))

    def down(self) -> None:
        """Remove it all."""
        names = (self._name, f"{self._name}-redis")
        self.say("delete", "namespace", *names, "--ignore-not-found")

    def pods(self, part: str) -> list[str]:
        """Give the names of a part's pods."""
        chosen = f"app.kubernetes.io/component={part}"
        return self.say("get", "pods", "-l", chosen, "-o", "name").split()

    def roll_out(self, part: str) -> None:
        """Exchange a part's pods, and wait as long as Kubernetes says that it takes."""
        self.say("rollout", "restart", f"deployment/{part}")
        self.say("rollout", "status", f"deployment/{part}", f"--timeout={BACK_S}s")

    def is_worker_ready(self) -> bool:
        """Say whether a worker is announced, as the api sees it from inside its pod."""
        ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz')"
        try:
            self.say("exec", "deployment/api", "--", "python", "-c", ask)
        except subprocess.CalledProcessError:
            return False
        return True

    def evict(self, pod: str) -> bool:
        """Ask for a pod's end as a drain of its node does; False where its disruption budget forbids it."""
        name = pod.removeprefix("pod/")
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{self._name}/pods/{name}/eviction"
        try:
            self.say("create", "--raw", path, "-f", "-", given=asked)
        except subprocess.CalledProcessError:
            return False
        return True

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Open a client; the way to the api is laid anew whenever its pod is gone."""
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

        keeper = threading.Thread(target=keep_forwarding)
        keeper.start()
        try:
            with httpx.Client(
                base_url=self.url, headers={"X-API-Key": KEY}, timeout=60, trust_env=False
            ) as client:
                yield client
        finally:
            is_over.set()
            keeper.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.down()


def drawing(client: httpx.Client) -> str:
    """Create a prediction that takes long, and wait until a worker draws it."""
    prediction_id = create(client, **LONG)
    until(lambda: is_running(client, prediction_id), within_s=BACK_S)
    return prediction_id


def test_no_prediction_is_lost_with_a_pod(cluster: Cluster) -> None:
    """Every pod of each part dies amid a drawing, then all are rolled out anew: each prediction succeeds, and the first picture stays."""
    began = time.monotonic()
    cluster.up()
    with cluster.client() as client:
        until(lambda: is_ready(client), within_s=BACK_S)
        url = str(run(client)["output"])
        print(f"first picture after {time.monotonic() - began:.1f} s")  # noqa: T201 -- the figure of docs/deploying.md
        picture = fetch(url)

        for part in ("worker", "courier", "api"):
            prediction_id = drawing(client)
            cluster.say("delete", *cluster.pods(part), "--force", "--grace-period=0")
            status = until(lambda: ended(client, prediction_id), within_s=BACK_S)  # noqa: B023 -- called at once
            assert (part, status) == (part, "success")
            until(lambda: is_ready(client), within_s=BACK_S)

        for part in ("worker", "courier", "api"):
            prediction_id = drawing(client)
            cluster.roll_out(part)
            assert cluster.is_worker_ready()  # not loading still, while the next one goes
            status = until(lambda: ended(client, prediction_id), within_s=BACK_S)  # noqa: B023 -- called at once
            assert (part, status) == (part, "success")

        until(lambda: is_ready(client), within_s=BACK_S)
        assert fetch(url) == picture
        assert not all(cluster.evict(pod) for pod in cluster.pods("api"))

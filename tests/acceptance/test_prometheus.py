"""The alerts and the dashboard in a real Prometheus that scrapes a real system as in `deploy/prometheus`."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import free_port
from tests.acceptance.test_metrics import two_ports
from tests.support import processes
from tests.support.api_client import LONG, get, order, run, until
from tests.support.klein_server import Klein, running_klein
from tests.support.webhook_receiver import running_receiver

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "klein.json").read_text())
EXPRESSIONS = {t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]}
ALERTS = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text())
IS_SILENT = re.compile("klein_gpu_|5[.][.]")  # without a GPU and without errors
PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROMETHEUS is None, reason="no prometheus: `make tools` as root, or apt-get"
    ),
    pytest.mark.timeout(120),
]

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def busy_klein(tiny_weights: Path) -> Iterator[tuple[Klein, int]]:
    """A system with a success, a failure and a delivered webhook."""
    port = two_ports()
    settings = {"KLEIN_METRICS_PORT": str(port), "KLEIN_ALLOW_HOSTS": "127.0.0.1"}
    with running_klein(tiny_weights, **settings) as klein, klein.client() as client:
        with running_receiver() as receiver:
            client.post("/v1/prediction", json=order() | {"webhook_url": receiver.url})
            until(lambda: receiver.calls)
        run(client)
        failing = client.post(
            "/v1/prediction", json=order(**LONG), headers={"X-Run-Timeout": "1"}
        ).json()["id"]
        assert get(client, failing, wait=60)["status"] == "error"
        yield klein, port


@pytest.fixture(scope="module")
def ask(busy_klein: tuple[Klein, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Prometheus with the shipped configuration, except for the ports and a shorter scrape interval."""
    klein, port = busy_klein
    assert PROMETHEUS is not None
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    ports = {"8000": klein.url.rpartition(":")[2], "9100": str(port), "9101": str(port + 1)}
    for shipped, own in ports.items():
        assert f'"127.0.0.1:{shipped}"' in configuration
        configuration = configuration.replace(f'"127.0.0.1:{shipped}"', f'"127.0.0.1:{own}"')
    (folder / "prometheus.yml").write_text(configuration.replace("interval: 5s", "interval: 1s"))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
    listens = f"127.0.0.1:{free_port()}"
    command = [PROMETHEUS, f"--web.listen-address={listens}", "--log.level=error"]
    places = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (
        processes.started([*command, *places]),
        httpx.Client(base_url=f"http://{listens}/api/v1", trust_env=False) as client,
    ):

        def query(path: str, **params: str) -> Any:
            try:
                return client.get(path, params=params).json()["data"]
            except (httpx.TransportError, ValueError):  # not listening yet, or loading
                return None

        until(lambda: query("/query", query="count(up == 1)"))
        yield query


def result(ask: Ask, query: str) -> Any:
    return ask("/query", query=query)["result"]


def test_every_process_is_scraped(ask: Ask) -> None:
    """api, worker and courier are all up, and each has its own metrics."""
    until(lambda: len(result(ask, "up == 1")) == 3)

    up = {u["metric"]["process"] for u in result(ask, "up == 1")}
    assert up == {"api", "worker", "courier"}
    for metric in ("http_requests_total", "engine_ready", "webhook_attempts_total"):
        until(partial(result, ask, f"klein_{metric}"))


@pytest.mark.parametrize("expression", sorted(EXPRESSIONS), ids=lambda e: e[:60])
def test_every_panel_has_data(ask: Ask, expression: str) -> None:
    """Each query of the dashboard returns data, except those that need a GPU or an error."""
    if IS_SILENT.search(expression):
        assert result(ask, expression) == []
    else:
        assert until(lambda: result(ask, expression))


def test_alerts_are_evaluated_and_do_not_fire(ask: Ask) -> None:
    """Prometheus loads each alert and evaluates it without an error, and none fires in a healthy system."""

    def rules() -> Any:
        rules = [rule for group in ask("/rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else None

    assert [rule["name"] for rule in until(rules)] == ALERTS
    assert {rule["state"] for rule in rules()} == {"inactive"}


def test_stopped_worker_makes_alerts_pending(ask: Ask, busy_klein: tuple[Klein, int]) -> None:
    """When the only worker stops, the alerts for it become pending."""
    worker = busy_klein[0].part("worker")
    assert worker is not None
    until(lambda: result(ask, "klein_workers_ready == 1"))
    worker.suspend()
    try:

        def named() -> set[str]:
            return {alert["labels"]["alertname"] for alert in ask("/alerts")["alerts"]}

        until(lambda: {"KleinProcessDown", "KleinNoWorker"} <= named(), within_s=60)
    finally:
        worker.resume()

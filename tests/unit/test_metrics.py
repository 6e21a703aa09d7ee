"""Checks that the metrics, their documentation, the alerts and the dashboard agree."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import REGISTRY, generate_latest

from app.api.metrics import create_system_registry
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import Unavailable
from app.predictions.stats import SystemStats, Waiting

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "metrics.md").read_text()
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "klein.json").read_text())
DESCRIBED = set(re.findall(r"^\| `(klein_\w+)`", DOCS, re.MULTILINE))
EXPRESSIONS = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
GPU = {
    "klein_gpu_memory_bytes",
    "klein_gpu_busy_ratio",
}  # served only on a machine with a GPU


def count():
    line = Waiting(count=3, oldest=timedelta(seconds=2))
    return SystemStats(
        waiting=dict.fromkeys(CheckpointKind, line), running=1, workers=[], webhooks=4, overdue=5
    )


def names(text):
    """Return the metric families of an exposition, counters with their suffix."""
    families = re.findall(r"^# TYPE (klein_\w+) (?!.*created)", text, re.MULTILINE)
    return {name for name in families if not name.endswith("_created")}


def test_every_metric_is_documented():
    """docs/metrics.md lists exactly the metrics that the processes serve."""
    served = generate_latest(REGISTRY) + generate_latest(create_system_registry(count, lambda: 0))

    assert names(served.decode()) | GPU == DESCRIBED


@pytest.mark.parametrize("text", [ALERTS.read_text(), *EXPRESSIONS], ids=lambda t: t[:40])
def test_alerts_and_dashboard_use_existing_metrics(text):
    """Alerts and panels use only metrics that exist."""
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"klein_\w+", text)}

    assert used <= DESCRIBED


def test_grafana_accepts_dashboard():
    """Grafana's own models read each field of the dashboard and write it again, including the options of panels."""
    register_default_plugins()
    encoded = JSONEncoder().encode(Dashboard.from_json(DASHBOARD))

    assert differing(DASHBOARD, json.loads(encoded)) == []


def differing(value, other, path="dashboard"):
    """Return the paths at which `other` lacks or changes a value. It may have more values."""
    if isinstance(value, dict) and isinstance(other, dict):
        parts = [(f".{name}", part, other.get(name)) for name, part in value.items()]
    elif isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        parts = [(f"[{k}]", value[k], other[k]) for k in range(len(value))]
    else:
        return [] if value == other else [path]
    return [
        difference for at, part, back in parts for difference in differing(part, back, path + at)
    ]


def test_every_count_becomes_gauge():
    """Each count becomes a gauge."""
    text = generate_latest(create_system_registry(count, lambda: 7)).decode()

    for line in (
        "klein_waiters 7.0",
        "klein_redis_up 1.0",
        "klein_predictions_running 1.0",
        "klein_workers_ready 0.0",
        "klein_webhooks_due 4.0",
        "klein_predictions_overdue 5.0",
        'klein_queue_depth{checkpoint="distilled"} 3.0',
        'klein_queue_age_seconds{checkpoint="distilled"} 2.0',
    ):
        assert line in text.splitlines()


def test_scrape_succeeds_without_redis():
    """Without Redis the scrape succeeds, and `klein_redis_up` is 0."""

    def away():
        raise Unavailable("Redis does not answer")

    text = generate_latest(create_system_registry(away, lambda: 0)).decode()

    assert "klein_redis_up 0.0" in text
    assert "klein_queue_depth" not in text

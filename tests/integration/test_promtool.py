"""Prometheus' own tool reads the alerts and the queries of the dashboard."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support import processes

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "klein.json").read_text())
EXPRESSIONS = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (`make tools` does)"
)


def promtool(*arguments):
    completed = processes.run(["promtool", *arguments])
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_every_alert_fires():
    """The rule tests of Prometheus pass, and there is one for each alert."""
    tests = ALERTS.with_name("alerts_test.yml")

    promtool("test", "rules", tests)

    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert [
        a for a in alerts if f"alertname: {a}\n        exp_alerts:" not in tests.read_text()
    ] == []


def test_prometheus_parses_every_panel(tmp_path):
    """Prometheus can parse each expression of the dashboard."""
    recorded = [{"record": f"panel:{k}", "expr": e} for k, e in enumerate(EXPRESSIONS)]
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}))

    promtool("check", "rules", rules)

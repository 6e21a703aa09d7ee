"""The manifests of deploy/k8s, as `kubectl kustomize` renders them, against published schemas and against klein itself."""

import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

from app import uploads
from app.api import health
from app.api import metrics as api_metrics
from app.settings import Settings
from tests.support import processes
from worker.graceful_shutdown import RESERVE_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s" / "overlays"
KUBECTL = Path(sys.executable).parent / "kubectl"
VERSION = "1.37"
FOREIGN: dict[str, Any] = {
    "PrometheusRule": PrometheusRule,
    "ScaledObject": ScaledObject,
    "ServiceMonitor": ServiceMonitor,
}
"""Kinds of KEDA and of the Prometheus operator, generated from their published schemas."""
PARTS = ["api", "worker", "courier"]
PUBLISH_SHARE = 0.5  # of the grace period: extra time to store results


def rendered(overlay: str) -> list[Any]:
    command = [str(KUBECTL), "kustomize", str(FOLDER / overlay)]
    output = processes.run(command, check=True).stdout
    return list(yaml.safe_load_all(output))


def named(documents: list[Any], kind: str, name: str) -> Any:
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))


def validate(document: Any) -> None:
    """Raise ValueError if an object lacks a required field, or has one that its kind does not define."""
    if (foreign := FOREIGN.get(document["kind"])) is None:
        kubernetes_validate.validate(document, VERSION, strict=True)
        return
    accepted = foreign.model_validate(document).model_dump(by_alias=True, exclude_unset=True)
    if accepted != document:
        raise ValueError(f"of {document} only {accepted} is known")


def pod(documents: list[Any], part: str) -> Any:
    return named(documents, "Deployment", part)["spec"]["template"]


def settings_of(documents: list[Any], part: str) -> Settings:
    """Return the settings of a part's container, without the secret."""
    environment: dict[str, str] = {}
    container = pod(documents, part)["spec"]["containers"][0]
    for source in container["envFrom"]:
        if "configMapRef" in source:
            environment |= named(documents, "ConfigMap", source["configMapRef"]["name"])["data"]
    environment |= {e["name"]: e["value"] for e in container.get("env", [])}
    return Settings.model_validate(environment)


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "keda", "ingress"])
def test_every_object_is_what_its_project_publishes(overlay: str) -> None:
    """Each object has all fields that its kind requires, and no unknown ones."""
    documents = rendered(overlay)
    for document in documents:
        validate(document)

    deployments = {d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"}
    assert deployments == set(PARTS)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "ScaledObject", "ServiceMonitor"])
def test_a_field_that_a_kind_does_not_have_is_found(kind: str) -> None:
    """A misspelled field is refused, also in custom resources."""
    document = next(d for d in rendered("keda") if d["kind"] == kind)
    document["spec"]["replicaCuont"] = 1

    with pytest.raises((ValueError, kubernetes_validate.ValidationError)):
        validate(document)


@pytest.mark.parametrize("part", PARTS)
def test_every_pod_is_restricted(part: str) -> None:
    """Each pod meets Kubernetes's `restricted` standard, with a read-only file system."""
    spec = named(rendered("gpu"), "Deployment", part)["spec"]["template"]["spec"]
    container = spec["containers"][0]

    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_no_job_is_cut_off_by_a_rollout() -> None:
    """A worker's grace period is longer than the longest attempt that the api allows, and Kubernetes waits until the result is stored."""
    documents = rendered("gpu")
    spec = pod(documents, "worker")["spec"]

    longest_s = settings_of(documents, "api").run_timeout.total_seconds()
    grace_s = settings_of(documents, "worker").grace.total_seconds()

    assert longest_s <= grace_s - RESERVE_S
    assert spec["terminationGracePeriodSeconds"] > grace_s * (1 + PUBLISH_SHARE)
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("part", ["api", "courier"])
def test_a_part_without_a_model_stops_in_time(part: str) -> None:
    """Kubernetes waits longer than the sleep before the signal plus the grace period after it."""
    documents = rendered("gpu")
    spec = pod(documents, part)["spec"]
    sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})

    needed_s = sleep.get("seconds", 0) + settings_of(documents, part).grace.total_seconds()

    assert spec["terminationGracePeriodSeconds"] > needed_s


@pytest.mark.parametrize("part", PARTS)
def test_probes_ask_what_is_served(part: str) -> None:
    """Each probe requests a path that the part serves, on a port that it listens on in the image."""
    container = pod(rendered("gpu"), part)["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    probes = {n: p["httpGet"] for n, p in container.items() if n.endswith("Probe")}
    served = {r.path for r in (*health.router.routes, *api_metrics.router.routes)}  # type: ignore[attr-defined]  # all of them are routes with a path
    if part != "api":
        served = {"/metrics", "/readyz"} if part == "worker" else {"/metrics"}

    assert "livenessProbe" in probes
    assert part != "api" or probes["livenessProbe"]["path"] == "/livez"  # the docs name it
    assert {p["path"] for p in probes.values()} <= served
    assert {p["port"] for p in probes.values()} <= set(ports)
    image = (ROOT / "Dockerfile").read_text()
    assert ports == ({"http": Settings().port} if part == "api" else {"metrics": 9100})
    assert "KLEIN_METRICS_PORT=9100" in image


def test_a_drain_of_nodes_leaves_something_that_serves() -> None:
    """Each disruption budget selects the pods of one deployment, and allows the eviction of one at a time."""
    documents = rendered("gpu")
    for part in ("api", "worker"):
        budget = named(documents, "PodDisruptionBudget", part)["spec"]
        labels = pod(documents, part)["metadata"]["labels"]
        replicas = named(documents, "Deployment", part)["spec"]["replicas"]

        assert budget["selector"]["matchLabels"].items() <= labels.items()
        assert budget.get("minAvailable", 0) < replicas
        assert budget.get("maxUnavailable", 1) == 1


def test_nothing_comes_in_but_requests_and_scrapes() -> None:
    """All pods are closed except to the monitoring's scrapes. Only the api is open, on its own port."""
    documents = rendered("gpu")
    everyone, api = (named(documents, "NetworkPolicy", n)["spec"] for n in ("klein", "api"))
    ports = {
        port["containerPort"]
        for part in PARTS
        for port in pod(documents, part)["spec"]["containers"][0]["ports"]
    }
    selected = everyone["podSelector"].get("matchLabels", {})

    for part in PARTS:
        assert selected.items() <= pod(documents, part)["metadata"]["labels"].items()
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert {p["port"] for rule in everyone["ingress"] for p in rule["ports"]} == ports
    assert all(rule["from"] for rule in everyone["ingress"])
    assert api["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "api"
    assert api["ingress"] == [{"ports": [{"port": Settings().port}]}]


def test_the_cloud_s_metadata_is_out_of_reach() -> None:
    """Every pod is denied the addresses that provide a node's credentials."""
    everyone = named(rendered("gpu"), "NetworkPolicy", "klein")["spec"]
    blocks = [to["ipBlock"] for rule in everyone["egress"] for to in rule["to"] if "ipBlock" in to]

    assert {"169.254.0.0/16", "168.63.129.16/32"} <= set(blocks[0]["except"])


def test_every_service_is_scraped() -> None:
    """The monitor names a port of each service."""
    documents = rendered("gpu")
    monitor = named(documents, "ServiceMonitor", "klein")["spec"]
    scraped = {e["port"] for e in monitor["endpoints"]}
    services = [d for d in documents if d["kind"] == "Service"]

    assert {s["metadata"]["name"] for s in services} == set(PARTS)
    for service in services:
        assert {p["name"] for p in service["spec"]["ports"]} <= scraped
        wanted = monitor["selector"]["matchLabels"].items()
        assert wanted <= service["metadata"]["labels"].items()


def test_the_operator_s_alerts_are_those_of_prometheus() -> None:
    """The PrometheusRule holds the same groups as alerts.yml, which promtool tests."""
    alerts = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())

    assert named(rendered("gpu"), "PrometheusRule", "klein")["spec"] == alerts


def test_scraped_targets_carry_the_labels_that_alerts_select() -> None:
    """The operator sets `job` to klein, by a label of every Service, and `process` to the part."""
    documents = rendered("gpu")
    monitor = named(documents, "ServiceMonitor", "klein")["spec"]
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()

    assert 'up{job="klein"}' in alerts
    assert "{{ $labels.process }}" in alerts
    for service in (d for d in documents if d["kind"] == "Service"):
        labels = service["metadata"]["labels"]
        assert labels[monitor["jobLabel"]] == "klein"
        assert labels["app.kubernetes.io/component"] == service["metadata"]["name"]
    for endpoint in monitor["endpoints"]:
        assert endpoint["relabelings"] == [
            {
                "sourceLabels": ["__meta_kubernetes_service_label_app_kubernetes_io_component"],
                "targetLabel": "process",
            }
        ]


@pytest.mark.parametrize("part", PARTS)
def test_pods_of_a_part_spread_over_nodes(part: str) -> None:
    """Pods of one part prefer different nodes, and may share one if there are too few."""
    template = pod(rendered("gpu"), part)
    constraint = template["spec"]["topologySpreadConstraints"][0]
    selector = constraint["labelSelector"]["matchLabels"]

    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert selector.items() <= template["metadata"]["labels"].items()
    assert selector["app.kubernetes.io/component"] == part


def test_the_ingress_lets_pass_what_the_api_takes() -> None:
    """The ingress example points to the api's port, accepts its largest body and buffers no event stream."""
    documents = rendered("ingress")
    ingress = named(documents, "Ingress", "api")
    annotations = ingress["metadata"]["annotations"]
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    largest_mb = int(annotations["nginx.ingress.kubernetes.io/proxy-body-size"].removesuffix("m"))

    assert largest_mb * 2**20 >= max(Settings().body_max_bytes, uploads.LARGEST_BYTES)
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    ports = named(documents, "Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in {p["name"] for p in ports}
    host = ingress["spec"]["tls"][0]["hosts"][0]
    assert settings_of(documents, "api").public_url == f"https://{host}"


def test_the_scaler_names_what_there_is() -> None:
    """KEDA scales the worker's deployment, by metrics that the api serves, for every kind of checkpoint."""
    documents = rendered("keda")
    scaler = named(documents, "ScaledObject", "worker")["spec"]
    source = Path(api_metrics.__file__).read_text()

    worker = named(documents, "Deployment", scaler["scaleTargetRef"]["name"])
    assert "replicas" not in worker["spec"]
    assert scaler["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
    assert "checkpoint=" not in scaler["triggers"][0]["metadata"]["query"]
    for metric in ("klein_queue_depth", "klein_predictions_running"):
        assert metric in scaler["triggers"][0]["metadata"]["query"]
        assert f'"{metric}"' in source

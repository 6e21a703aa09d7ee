"""The manifests of deploy/k8s, as `kubectl kustomize` renders them, against published schemas and against klein itself."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import kubernetes_validate
import pytest
import yaml

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
FOREIGN = {
    "PrometheusRule": "prometheus_operator.v1",
    "ScaledObject": "keda.v1alpha1",
    "ServiceMonitor": "prometheus_operator.v1",
}
"""Kinds of KEDA and of the Prometheus operator, and where they are, generated from their published schemas.
Imported by the tests that use them: that takes seconds in every process that collects tests."""
PARTS = ["api", "worker", "courier"]


def rendered(overlay: str) -> list[Any]:
    command = [str(KUBECTL), "kustomize", str(FOLDER / overlay)]
    output = processes.run(command, check=True).stdout
    return list(yaml.safe_load_all(output))


def named(documents: list[Any], kind: str, name: str) -> Any:
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))


def validate(document: Any) -> None:
    """Raise ValueError if an object lacks a required field, or has one that its kind does not define."""
    kind = document["kind"]
    if kind not in FOREIGN:
        kubernetes_validate.validate(document, VERSION, strict=True)
        return
    foreign: Any = getattr(import_module(f"cloudcoil.models.{FOREIGN[kind]}"), kind)
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
    environment |= {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}
    return Settings.model_validate(environment)


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "keda", "ingress"])
def test_objects_follow_published_schemas(overlay: str) -> None:
    """Each object has all fields that its kind requires, and no unknown ones."""
    documents = rendered(overlay)
    for document in documents:
        validate(document)

    deployments = {d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"}
    assert deployments == set(PARTS)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "ScaledObject", "ServiceMonitor"])
def test_unknown_field_is_refused(kind: str) -> None:
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


def test_worker_grace_period_exceeds_longest_attempt() -> None:
    """A worker's grace period is longer than the longest attempt that the api allows, and Kubernetes waits longer than that."""
    documents = rendered("gpu")
    spec = pod(documents, "worker")["spec"]

    longest_s = settings_of(documents, "api").run_timeout.total_seconds()
    grace_s = settings_of(documents, "worker").grace.total_seconds()

    assert longest_s <= grace_s - RESERVE_S
    assert spec["terminationGracePeriodSeconds"] > grace_s
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("part", ["api", "courier"])
def test_shutdown_of_other_parts_fits_grace_period(part: str) -> None:
    """Kubernetes waits longer than the sleep before the signal plus the grace period after it."""
    documents = rendered("gpu")
    spec = pod(documents, part)["spec"]
    sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})

    needed_s = sleep.get("seconds", 0) + settings_of(documents, part).grace.total_seconds()

    assert spec["terminationGracePeriodSeconds"] > needed_s


@pytest.mark.parametrize("part", PARTS)
def test_probes_match_served_routes(part: str) -> None:
    """Each probe requests a path that the part serves, on a port that it listens on in the image."""
    container = pod(rendered("gpu"), part)["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    probes = {n: p["httpGet"] for n, p in container.items() if n.endswith("Probe")}
    served = {r.path for r in health.router.routes}  # type: ignore[attr-defined]  # all of them are routes with a path
    if part != "api":
        served = {"/metrics", "/readyz"} if part == "worker" else {"/metrics"}

    assert "livenessProbe" in probes
    assert part != "api" or probes["livenessProbe"]["path"] == "/livez"  # the docs name it
    assert {p["path"] for p in probes.values()} <= served
    assert {p["port"] for p in probes.values()} <= set(ports)
    image = (ROOT / "Dockerfile").read_text()
    assert ports == {"metrics": 9100} | ({"http": Settings().port} if part == "api" else {})
    assert "KLEIN_METRICS_PORT=9100" in image


def test_disruption_budgets_allow_one_eviction() -> None:
    """Each disruption budget selects the pods of one deployment, and allows the eviction of one at a time."""
    documents = rendered("gpu")
    for part in ("api", "worker"):
        budget = named(documents, "PodDisruptionBudget", part)["spec"]
        labels = pod(documents, part)["metadata"]["labels"]
        replicas = named(documents, "Deployment", part)["spec"]["replicas"]

        assert budget["selector"]["matchLabels"].items() <= labels.items()
        assert budget.get("minAvailable", 0) < replicas
        assert budget.get("maxUnavailable", 1) == 1


def test_network_policy_admits_requests_and_scrapes() -> None:
    """All pods are closed except to the monitoring's scrapes. Only the api is open, on its own port."""
    documents = rendered("gpu")
    everyone, api = (named(documents, "NetworkPolicy", n)["spec"] for n in ("klein", "api"))
    ports = {
        port["containerPort"]
        for part in PARTS
        for port in pod(documents, part)["spec"]["containers"][0]["ports"]
        if port["name"] == "metrics"
    }
    selected = everyone["podSelector"].get("matchLabels", {})

    for part in PARTS:
        assert selected.items() <= pod(documents, part)["metadata"]["labels"].items()
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert {p["port"] for rule in everyone["ingress"] for p in rule["ports"]} == ports
    assert all(rule["from"] for rule in everyone["ingress"])
    assert api["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "api"
    assert api["ingress"] == [{"ports": [{"port": Settings().port}]}]


def test_cloud_metadata_is_unreachable() -> None:
    """Every pod is denied the addresses that provide a node's credentials."""
    everyone = named(rendered("gpu"), "NetworkPolicy", "klein")["spec"]
    blocks = [to["ipBlock"] for rule in everyone["egress"] for to in rule["to"] if "ipBlock" in to]

    denied = {"169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"}
    assert denied <= set(blocks[0]["except"])


@pytest.mark.parametrize("part", PARTS)
def test_each_pod_gets_only_the_secrets_that_it_reads(part: str) -> None:
    """A pod reads single keys of the secret, those of its part, and secrets.example has them all."""
    container = pod(rendered("gpu"), part)["spec"]["containers"][0]
    keys = {
        e["name"]: e["valueFrom"]["secretKeyRef"]["key"]
        for e in container["env"]
        if "valueFrom" in e
    }
    example = (ROOT / "deploy" / "k8s" / "secrets.example").read_text()
    own = {
        "api": {"KLEIN_API_KEYS", "KLEIN_URL_SECRET"},
        "courier": {"KLEIN_URL_SECRET"},
        "worker": {"HF_TOKEN"},
    }

    s3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert keys.keys() == {"REDIS_URL"} | own[part] | s3
    assert keys["REDIS_URL"] == ("REDIS_API_URL" if part == "api" else "REDIS_WORKER_URL")
    assert [key for key in keys.values() if f"{key}=" not in example] == []
    assert container["envFrom"] == [{"configMapRef": {"name": ANY}}]


@pytest.mark.parametrize("part", PARTS)
def test_temporary_files_are_bounded(part: str) -> None:
    """The folder of temporary files has a size limit."""
    volumes = {v["name"]: v for v in pod(rendered("gpu"), part)["spec"]["volumes"]}

    assert volumes["tmp"]["emptyDir"]["sizeLimit"] in {"64Mi", "1Gi"}


def test_every_service_is_scraped() -> None:
    """Each service has the port that the monitor names."""
    documents = rendered("gpu")
    monitor = named(documents, "ServiceMonitor", "klein")["spec"]
    scraped = {e["port"] for e in monitor["endpoints"]}
    services = [d for d in documents if d["kind"] == "Service"]

    assert {s["metadata"]["name"] for s in services} == set(PARTS)
    for service in services:
        assert scraped <= {p["name"] for p in service["spec"]["ports"]}
        wanted = monitor["selector"]["matchLabels"].items()
        assert wanted <= service["metadata"]["labels"].items()


def test_operator_alerts_equal_prometheus_alerts() -> None:
    """The PrometheusRule holds the same groups as alerts.yml, which promtool tests."""
    alerts = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())

    assert named(rendered("gpu"), "PrometheusRule", "klein")["spec"] == alerts


def test_scraped_targets_have_alert_labels() -> None:
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
def test_pods_spread_over_nodes(part: str) -> None:
    """Pods of one part prefer different nodes, and may share one if there are too few."""
    template = pod(rendered("gpu"), part)
    constraint = template["spec"]["topologySpreadConstraints"][0]
    selector = constraint["labelSelector"]["matchLabels"]

    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert selector.items() <= template["metadata"]["labels"].items()
    assert selector["app.kubernetes.io/component"] == part


def test_ingress_matches_api_limits() -> None:
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


def test_scaler_names_existing_metrics() -> None:
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

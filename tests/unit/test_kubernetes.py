"""The manifests of deploy/k8s, as `kubectl kustomize` renders them, against the schemas that Kubernetes publishes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "k8s" / "overlays"
KUBECTL = Path(sys.executable).parent / "kubectl"
VERSION = "1.37"
FOREIGN = {"ScaledObject", "ServiceMonitor"}
"""Kinds of other projects, whose schemas no package carries as such: only their YAML is checked."""

pytestmark = pytest.mark.timeout(60)


def rendered(overlay: str) -> list[Any]:
    command = [str(KUBECTL), "kustomize", str(FOLDER / overlay)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(output))


def named(documents: list[Any], kind: str, name: str) -> Any:
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "keda"])
def test_every_object_is_what_kubernetes_publishes(overlay: str) -> None:
    """Each object has all fields that its kind requires, and none that it does not have."""
    documents = rendered(overlay)
    for document in documents:
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, VERSION, strict=True)

    deployments = {d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"}
    assert deployments == {"api", "worker", "courier"}


@pytest.mark.parametrize("part", ["api", "worker", "courier"])
def test_every_pod_is_restricted(part: str) -> None:
    """Each pod meets Kubernetes's `restricted` standard, with a file system that it cannot write."""
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


def test_a_worker_may_finish_before_it_is_killed() -> None:
    """Kubernetes waits longer than the worker's own grace."""
    spec = named(rendered("gpu"), "Deployment", "worker")["spec"]["template"]["spec"]
    environ = {e["name"]: e["value"] for e in spec["containers"][0]["env"]}

    grace = Settings.model_validate({"KLEIN_GRACE": environ["KLEIN_GRACE"]}).grace

    assert spec["terminationGracePeriodSeconds"] > grace.total_seconds()
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_scaler_names_what_there_is() -> None:
    """KEDA scales the worker's deployment, by metrics that the api serves."""
    documents = rendered("keda")
    scaler = named(documents, "ScaledObject", "worker")["spec"]
    source = (FOLDER.parents[2] / "app" / "api" / "metrics.py").read_text()

    worker = named(documents, "Deployment", scaler["scaleTargetRef"]["name"])
    assert "replicas" not in worker["spec"]
    for metric in ("klein_queue_depth", "klein_predictions_running"):
        assert metric in scaler["triggers"][0]["metadata"]["query"]
        assert f'"{metric}"' in source

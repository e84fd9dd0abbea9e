"""The manifests of deploy/kubernetes: their schemas, and that they fit each other and Watcher."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it declares no types
import pytest
import yaml
from typer.main import get_command

from tests.deploy.tools import DEPLOY, ROOT, find_program, miss
from watcher_server.cli.main import app
from watcher_server.settings import Settings
from watcher_server.tasking.wire import QUEUES

FOLDER = DEPLOY / "kubernetes"
# The oldest that the schemas are checked for, and the newest there is.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
KEDA = "keda.sh/v1alpha1"
KEDA_MODULES = ROOT / ".venv-keda" / "node_modules"

Manifest = dict[str, Any]


def _read(file: Path) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(file.read_text()) if manifest]


KUSTOMIZATION = _read(FOLDER / "kustomization.yaml")[0]
FILES = sorted(file for file in FOLDER.glob("*.yaml") if file.name != "kustomization.yaml")
MANIFESTS = [manifest for file in FILES for manifest in _read(file)]


def _id(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _find(kind: str, name: str) -> Manifest:
    return next(manifest for manifest in MANIFESTS if _id(manifest) == f"{kind} {name}")


WORKLOADS = [manifest for manifest in MANIFESTS if manifest["kind"] in {"Deployment", "Job"}]
SCALED = _find("ScaledObject", "watcher-worker")


def _pod(manifest: Manifest) -> Manifest:
    pod: Manifest = manifest["spec"]["template"]
    return pod


def _container(manifest: Manifest) -> Manifest:
    (container,) = _pod(manifest)["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [one for one in MANIFESTS if one["apiVersion"] != KEDA], ids=_id)
def test_it_has_the_schema_of_its_kind(manifest: Manifest, version: str) -> None:
    # The schemas come with the package; strictly: a field that there is not is an error.
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelled_field_would_be_noticed() -> None:
    broken = copy.deepcopy(_find("Deployment", "watcher-worker"))
    _pod(broken)["spec"]["terminationGracePeriodSecond"] = 90
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def _check_with_keda(manifest: Manifest) -> str:
    """What KEDA's own schema (of the version 2.10, which has all that is used here) says against it."""
    node = find_program("node", "none", "install Node.js and npm, and run make test")
    if not (KEDA_MODULES / "@kubernetes-models" / "keda").is_dir():
        miss("KEDA's schema is missing: install npm, and run make test.")
    checked = subprocess.run(
        [node, str(Path(__file__).parent / "keda" / "validate.js")],
        input=json.dumps(manifest),
        env={**os.environ, "NODE_PATH": str(KEDA_MODULES)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if checked.returncode == 0 else checked.stderr or "it could not be checked"


def test_the_scaler_has_kedas_schema() -> None:
    assert _check_with_keda(SCALED) == ""


def _break_reference(spec: Manifest) -> None:
    del spec["scaleTargetRef"]["name"]


def _break_number(spec: Manifest) -> None:
    spec["maxReplicaCount"] = "many"


def _break_trigger(spec: Manifest) -> None:
    # KEDA takes text only.
    spec["triggers"][0]["metadata"]["listLength"] = 10


@pytest.mark.parametrize("break_it", [_break_reference, _break_number, _break_trigger])
def test_a_broken_scaler_would_be_noticed(break_it: Callable[[Manifest], None]) -> None:
    broken = copy.deepcopy(SCALED)
    break_it(broken["spec"])
    assert _check_with_keda(broken)


def test_the_scaler_knows_only_fields_that_there_are() -> None:
    # KEDA's schema lets others pass, and Kubernetes drops them without a word.
    assert set(SCALED["spec"]) <= {
        *("scaleTargetRef", "pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount"),
        *("advanced", "fallback", "triggers"),
    }
    for trigger in SCALED["spec"]["triggers"]:
        assert set(trigger) == {"type", "name", "metadata"}
        assert trigger["type"] == "redis"
        assert set(trigger["metadata"]) == {
            *("addressFromEnv", "passwordFromEnv", "databaseIndex", "enableTLS", "listName", "listLength"),
        }


def test_the_scaler_looks_at_every_queue_of_the_worker() -> None:
    worker = _find("Deployment", SCALED["spec"]["scaleTargetRef"]["name"])
    # Applying the manifest again would set it back.
    assert "replicas" not in worker["spec"]
    assert {trigger["metadata"]["listName"] for trigger in SCALED["spec"]["triggers"]} == set(QUEUES)
    variables = {variable["name"] for variable in _container(worker)["env"]}
    for trigger in SCALED["spec"]["triggers"]:
        assert {trigger["metadata"]["addressFromEnv"], trigger["metadata"]["passwordFromEnv"]} <= variables


def test_the_kustomization_has_every_file_but_the_example_of_the_secret() -> None:
    assert set(KUSTOMIZATION["resources"]) == {file.name for file in FILES} - {"secret.example.yaml"}
    assert [image["name"] for image in KUSTOMIZATION["images"]] == ["watcher"]
    for manifest in MANIFESTS:
        assert manifest["metadata"].get("namespace", "watcher") == "watcher", _id(manifest)


@pytest.mark.parametrize("manifest", WORKLOADS, ids=_id)
def test_a_workload_runs_a_command_of_watcher_on_settings_that_there_are(manifest: Manifest) -> None:
    container = _container(manifest)
    assert container["image"] == "watcher"
    assert container["args"][0] in get_command(app).commands  # type: ignore[attr-defined]
    known = {f"WATCHER_{name.upper()}" for name in Settings.model_fields}
    variables = {name for name in (v["name"] for v in container["env"]) if name.startswith("WATCHER_")}
    assert {*variables, *_find("ConfigMap", "watcher")["data"]} <= known
    keys = {variable["valueFrom"]["secretKeyRef"]["key"] for variable in container["env"]}
    assert keys <= set(_find("Secret", "watcher")["stringData"])


@pytest.mark.parametrize("manifest", WORKLOADS, ids=_id)
def test_a_workload_may_do_no_more_than_it_must(manifest: Manifest) -> None:
    assert _pod(manifest)["spec"]["securityContext"]["runAsNonRoot"] is True
    context = _container(manifest)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert _container(manifest)["resources"]["limits"]["memory"]


def test_a_worker_is_asked_on_its_own_port_and_given_time_to_stop() -> None:
    settings = _find("ConfigMap", "watcher")["data"]
    worker = _find("Deployment", "watcher-worker")
    container = _container(worker)
    (port,) = container["ports"]
    assert port["containerPort"] == int(settings["WATCHER_WORKER_METRICS_PORT"])
    assert container["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": port["name"]}
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": port["name"]}
    assert _pod(worker)["spec"]["terminationGracePeriodSeconds"] > int(settings["WATCHER_WORKER_STOP_SECONDS"])


def test_beat_is_never_there_twice() -> None:
    spec = _find("Deployment", "watcher-beat")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_every_selector_finds_pods() -> None:
    pods = [_pod(manifest)["metadata"]["labels"] for manifest in WORKLOADS]
    selectors = [manifest["spec"]["selector"] for manifest in MANIFESTS if "selector" in manifest.get("spec", {})]
    assert len(selectors) == 6
    for selector in selectors:
        wanted = selector.get("matchLabels", selector)
        assert [labels for labels in pods if wanted.items() <= labels.items()], selector


def test_the_documented_trigger_for_sentinels_has_kedas_schema() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    block = re.search(r"```yaml\n(- type: redis-sentinel\n.*?)```", page, re.DOTALL)
    assert block is not None
    other = copy.deepcopy(SCALED)
    other["spec"]["triggers"] = yaml.safe_load(block[1])
    assert _check_with_keda(other) == ""

"""deploy/k8s, checked against the schemas of Kubernetes, and against what the service does."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from e2e.stack import ROOT
from shop_api.settings import PREFIX, Settings

FOLDER = ROOT / "deploy" / "k8s"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.stem != "kustomization"
}
POD: dict[str, Any] = OBJECTS["deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
GRACEFUL = 10
"""Seconds that the service gives its last requests (cli/main.py)."""


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("name", OBJECTS)
def test_is_what_kubernetes_takes(name: str, version: str):
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_the_schemas_find_a_mistake():
    wrong = {**OBJECTS["service"], "spec": {"portz": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_kustomization_has_every_file_but_the_example_of_a_secret():
    assert {f"{name}.yaml" for name in OBJECTS} - set(KUSTOMIZATION["resources"]) == {"secret.example.yaml"}


def test_everything_selects_the_same_pods():
    labels = OBJECTS["deployment"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["service"]["spec"]["selector"] == labels
    assert OBJECTS["pdb"]["spec"]["selector"]["matchLabels"] == labels
    (spread,) = POD["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    assert OBJECTS["hpa"]["spec"]["scaleTargetRef"]["name"] == OBJECTS["deployment"]["metadata"]["name"]


def test_it_has_no_more_rights_than_the_image_needs():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {POD['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in CONTAINER["volumeMounts"]] == ["/tmp"]
    assert {"cpu", "memory"} == CONTAINER["resources"]["requests"].keys()
    assert "memory" in CONTAINER["resources"]["limits"]


def test_the_job_migrates_with_the_image_settings_and_rights_of_the_service():
    job = OBJECTS["migrate"]["spec"]["template"]
    (container,) = job["spec"]["containers"]
    assert container["command"] == ["shop-api", "migrate"]
    assert (container["image"], container["envFrom"]) == (CONTAINER["image"], CONTAINER["envFrom"])
    assert container["securityContext"] == CONTAINER["securityContext"]
    assert job["spec"]["securityContext"] == POD["securityContext"]
    assert job["metadata"]["labels"] != OBJECTS["deployment"]["spec"]["selector"]["matchLabels"]


def test_it_is_not_killed_before_it_has_drained():
    (waiting,) = CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1:]
    drain = int(OBJECTS["configmap"]["data"]["SHOP_DRAIN_SECONDS"])
    probe = CONTAINER["readinessProbe"]
    assert drain > 0
    assert POD["terminationGracePeriodSeconds"] >= int(waiting) + drain + GRACEFUL + 5
    assert f"timeout_graceful_shutdown={GRACEFUL}" in (ROOT / "src" / "shop_api" / "cli" / "main.py").read_text()
    assert probe["httpGet"]["path"] == "/health/ready"


def test_only_readiness_asks_the_engines():
    """Else all instances would be restarted whenever the database is away."""
    assert {CONTAINER[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/health/live"}
    (port,) = CONTAINER["ports"]
    assert f"SHOP_PORT={port['containerPort']}" in (ROOT / "Dockerfile").read_text()
    assert {CONTAINER[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")} == {
        port["name"]
    }


def test_one_may_always_go():
    assert OBJECTS["hpa"]["spec"]["minReplicas"] > OBJECTS["pdb"]["spec"]["maxUnavailable"]
    assert OBJECTS["deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_what_is_set_are_settings_and_no_secret_is_given():
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert known >= OBJECTS["configmap"]["data"].keys() | OBJECTS["secret.example"]["stringData"].keys()
    secrets = OBJECTS["secret.example"]["stringData"]
    assert secrets["SHOP_JWT_SECRET"] == secrets["SHOP_ADMIN_PASSWORD"] == ""
    urls = {"mongo_url": secrets["SHOP_MONGO_URL"], "redis_url": secrets["SHOP_REDIS_URL"]}
    assert Settings.model_validate(urls).redis_url is not None

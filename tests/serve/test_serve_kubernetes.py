"""The manifest is what the cluster's own schemas ask for, and says of the service what is so."""

import re

import kubernetes_validate
import pytest
import yaml

from serve.service import LARGEST_BATCH
from serve.settings import Settings, read
from tests.serve.serving import ROOT, running

MANIFEST = {part["kind"]: part for part in yaml.safe_load_all((ROOT / "serve" / "kubernetes.yaml").read_text())}
POD = MANIFEST["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
PROBES = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}


def test_every_part_fits_its_schema():
    assert set(MANIFEST) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    version = kubernetes_validate.latest_version()
    for part in MANIFEST.values():
        kubernetes_validate.validate(part, version, strict=True)
    broken = MANIFEST["Deployment"] | {"spec": MANIFEST["Deployment"]["spec"] | {"replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_every_part_means_the_same_pods():
    labels, name = POD["metadata"]["labels"], MANIFEST["Deployment"]["metadata"]["name"]
    selectors = [MANIFEST[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")]
    spread = [rule["labelSelector"]["matchLabels"] for rule in POD["spec"]["topologySpreadConstraints"]]
    for selector in [*selectors, *spread, MANIFEST["Service"]["spec"]["selector"]]:
        assert selector == labels
    assert MANIFEST["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name


def test_the_pod_listens_answers_its_probes_and_counts_what_the_autoscaler_reads():
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == Settings().port == int(POD["metadata"]["annotations"]["prometheus.io/port"])
    (metric,) = MANIFEST["HorizontalPodAutoscaler"]["spec"]["metrics"]
    targets = [*(probe["port"] for probe in PROBES.values()), MANIFEST["Service"]["spec"]["ports"][0]["targetPort"]]
    assert set(targets) == {port["name"]}
    assert int(metric["pods"]["target"]["averageValue"]) == LARGEST_BATCH
    with running(variables()) as server:
        for probe in PROBES.values():
            assert server.client.get(probe["path"]).status_code == 200
        told = server.client.get(POD["metadata"]["annotations"]["prometheus.io/path"]).text
    assert re.search(rf"^{metric['pods']['metric']['name']} [\d.]+$", told, re.MULTILINE)


def variables() -> dict[str, str]:
    return {row["name"]: row["value"] for row in CONTAINER["env"]}


def test_a_pod_drains_before_it_is_killed_and_no_service_overwrites_its_settings():
    settings = read(variables())
    assert settings.drain + settings.deadline < POD["spec"]["terminationGracePeriodSeconds"]
    # Kubernetes gives each pod NAME_PORT of each service, unless it is told not to.
    assert POD["spec"]["enableServiceLinks"] is False


def test_the_container_may_write_only_where_it_must_and_runs_as_the_images_user():
    image = (ROOT / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+)$", image, re.MULTILINE)
    pod, own = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] == int(user)
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {"/tmp", *re.findall(r"^WORKDIR (/home/\S+)$", image, re.MULTILINE)}
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == {m["name"] for m in CONTAINER["volumeMounts"]}

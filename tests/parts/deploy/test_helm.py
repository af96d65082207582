"""The Helm chart: what Kubernetes accepts, who reads which secret, and which process serves which queue."""

from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import HelmError, lint

from coordinator.celery import QUEUES
from coordinator.run import PROGRAMS, command_of
from coordinator.settings import env
from tests.parts.deploy.charts import CHART, RELEASE, container, full, of_kind, pods, rendered, secrets_of

VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")
CORE = {"SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL"}
WORKER = {"PIPELINES_BROKER_URL", "PIPELINES_WORKER_KEY", "PIPELINES_TOKEN"}
COORDINATOR = ("co-web", "co-control-main", "co-control-calls", "co-control-artifacts", "co-clock")


@pytest.mark.parametrize("values", [{}, {"workerReleases": [RELEASE], "keda": {"enabled": True}}])
def test_helm_finds_no_fault(values: dict[str, Any]) -> None:
    report = lint(CHART, values, strict=True)
    assert (report["messages"], report["errors"]) == ([], [])


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_document(version: str) -> None:
    for document in full():
        if not document["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(document, version, strict=True)


def test_every_workload_reads_only_its_secrets() -> None:
    core, store = {"coordinator-core": CORE}, {"coordinator-store": {"*"}}
    control = {**core, **store, "coordinator-control": {"*"}}
    assert {name: secrets_of(pod) for name, pod in pods(full()).items()} == {
        "co-web": {**core, **store, "coordinator-web": {"*"}},
        "co-control-main": control,
        "co-control-calls": control,
        "co-control-artifacts": control,
        "co-clock": core,
        "co-migrate": {"coordinator-owner": {"DATABASE_URL"}},
        "co-worker-orders-1-0": {"acme-worker": WORKER},
    }


def test_no_secret_is_in_the_chart() -> None:
    assert not of_kind(full(), "Secret")
    settings = of_kind(full(), "ConfigMap")["co-settings"]["data"]
    assert not [name for name in settings if name in env.declared and env.declared[name].secret]


def test_every_environment_variable_is_a_setting() -> None:
    known = set(env.declared)
    settings = of_kind(full(), "ConfigMap")["co-settings"]["data"]
    assert set(settings) <= known
    for name in (*COORDINATOR, "co-migrate"):
        assert {each["name"] for each in container(pods(full())[name])["env"]} <= known


def test_the_environment_of_each_process_is_complete() -> None:
    required = {name for name, variable in env.declared.items() if variable.default is None}
    for name, needed in {**dict.fromkeys(COORDINATOR, required), "co-migrate": {"DATABASE_URL"}}.items():
        assert needed <= {each["name"] for each in container(pods(full())[name])["env"]}


@pytest.mark.parametrize("name", COORDINATOR)
def test_each_process_starts_with_known_options(name: str) -> None:
    _, *arguments = container(pods(full())[name])["args"]
    assert command_of(arguments)[0] in PROGRAMS


def test_every_queue_is_served() -> None:
    served = [
        queue
        for name, pod in pods(full()).items()
        if "-control-" in name
        for option in container(pod)["args"]
        if option.startswith("--queues=")
        for queue in option.removeprefix("--queues=").split(",")
    ]
    assert sorted(served) == sorted(QUEUES)


def test_helm_refuses_control_workers_that_leave_a_queue_out() -> None:
    control = [{"name": "main", "queues": [*QUEUES[:-1]], "replicas": 1, "concurrency": 12, "resources": {}}]
    with pytest.raises(HelmError, match=f"no control worker serves the queue {QUEUES[-1]}"):
        rendered(control=control)


@pytest.mark.parametrize(
    "values",
    [
        {"host": "https://coordinator.example"},
        {"settings": {"S3_BUCKET": 1}},
        {"unknown": True},
        {"workerReleases": [{**RELEASE, "releaseVersion": '1.0"} or vector(1'}]},
        {"control": []},
    ],
)
def test_helm_refuses_wrong_values(values: dict[str, Any]) -> None:
    with pytest.raises(HelmError):
        rendered(**values)


def test_every_pod_meets_the_restricted_standard() -> None:
    for name, pod in pods(full()).items():
        assert pod["automountServiceAccountToken"] is False, name
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert (security["runAsUser"], security["runAsGroup"]) == (10001, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all(set(volume) & {"emptyDir", "configMap"} for volume in pod["volumes"])


def test_every_pod_may_write_to_its_folder_for_temporary_files() -> None:
    for pod in pods(full()).values():
        assert "/tmp" in {each["mountPath"] for each in container(pod)["volumeMounts"]}


def test_every_process_has_probes() -> None:
    for name in of_kind(full(), "Deployment"):
        probed = container(pods(full())[name])
        ports = {each["name"] for each in probed["ports"]}
        kinds = {"startupProbe", "livenessProbe", *(["readinessProbe"] if name == "co-web" else [])}
        for kind in kinds:
            request = probed[kind]["httpGet"]
            assert request["port"] in ports
            assert request["path"] in {"/live", "/health/live", "/health/ready"}


def test_every_deployment_survives_the_drain_of_a_node() -> None:
    budgets = of_kind(full(), "PodDisruptionBudget")
    for name, deployment in of_kind(full(), "Deployment").items():
        assert budgets[name]["spec"]["selector"] == deployment["spec"]["selector"]


def test_migrations_run_before_each_installation_and_upgrade() -> None:
    job = of_kind(full(), "Job")["co-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    # Nothing that Helm creates later is there yet.
    assert not container(pods(full())["co-migrate"]).get("envFrom")


def test_each_release_is_scaled_by_the_age_of_its_queue() -> None:
    scaled = of_kind(full(), "ScaledObject")["co-worker-orders-1-0"]["spec"]
    assert scaled["scaleTargetRef"]["name"] in of_kind(full(), "Deployment")
    [trigger] = scaled["triggers"]
    labels = 'tenant="acme",pipeline="org.example.orders",release="1.0"'
    assert trigger["metadata"]["query"] == f"max(coordinator_queue_oldest_seconds{{{labels}}})"
    assert "replicas" not in of_kind(full(), "Deployment")["co-worker-orders-1-0"]["spec"]


def test_workers_reach_no_database_and_are_reached_by_nobody() -> None:
    policies = of_kind(full(), "NetworkPolicy")
    worker = of_kind(full(), "Deployment")["co-worker-orders-1-0"]["spec"]["template"]["metadata"]["labels"]
    matching = [each["spec"] for each in policies.values() if selects(each["spec"]["podSelector"], worker)]
    ports = [port["port"] for each in matching for rule in each.get("egress", []) for port in rule.get("ports", [])]
    assert 5432 not in ports
    blocks = [
        to["ipBlock"] for each in matching for rule in each.get("egress", []) for to in rule["to"] if "ipBlock" in to
    ]
    assert [block["except"] for block in blocks if block["cidr"] == "0.0.0.0/0"] == [["10.0.0.0/8"]]
    arriving = [port["port"] for each in matching for rule in each.get("ingress", []) for port in rule["ports"]]
    assert arriving == ["metrics"]


def test_every_pod_is_closed_by_default() -> None:
    default = of_kind(full(), "NetworkPolicy")["co-default"]["spec"]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    for name, each in of_kind(full(), "Deployment", "Job").items():
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert selects(default["podSelector"], labels), name


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of pods matches these labels."""
    named = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    excluded = any(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))
    return named and not excluded


def test_the_documented_release_is_a_valid_one() -> None:
    text = (CHART / "values.yaml").read_text()
    commented = [line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# - ", "#   "))]
    [release] = yaml.safe_load("\n".join(commented))
    digest = "0" * 64
    made = rendered(workerReleases=[{**release, "image": release["image"].replace("…", digest)}])
    assert "co-worker-orders-1-0" in of_kind(made, "Deployment")

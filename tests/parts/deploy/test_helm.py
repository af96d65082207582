from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError, lint

from coordinator.celery import QUEUES
from coordinator.run import PROGRAMS, command_of
from coordinator.settings import env
from embedded.product import PROJECT
from tests.cases import cases

CHART = PROJECT / "deploy" / "helm" / "coordinator"
RELEASE = {
    "name": "orders-1-0",
    "tenant": "acme",
    "pipelineId": "org.example.orders",
    "releaseVersion": "1.0",
    "image": "registry.example/orders-worker@sha256:" + "0" * 64,
    "descriptor": "orders-1-0",
    "secret": "acme-worker",
}
Document = dict[str, Any]


def rendered(**values: Any) -> list[Document]:
    """Return the documents of the chart with these values, as the release `co`. Raises `HelmError` if Helm refuses."""
    with Chart.load(CHART) as chart:
        files = chart.render(values=values, name="co", namespace="coordinator")
    return [document for text in files.values() for document in yaml.safe_load_all(text) if document]


@cache
def full() -> list[Document]:
    """The documents with one release of workers, and with every option turned on."""
    secrets = {"web": "coordinator-web", "control": "coordinator-control", "store": "coordinator-store"}
    return rendered(workerReleases=[RELEASE], keda={"enabled": True}, secrets=secrets)


def of_kind(documents: list[Document], *kinds: str) -> dict[str, Document]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] in kinds}


def pods(documents: list[Document]) -> dict[str, Document]:
    workloads = of_kind(documents, "Deployment", "Job")
    return {name: workload["spec"]["template"]["spec"] for name, workload in workloads.items()}


def container(pod: Document) -> Document:
    [only] = pod["containers"]
    result: Document = only
    return result


def secrets_of(pod: Document) -> dict[str, set[str]]:
    """Return the Secrets that a pod reads, each with the read keys; `*` for all of them."""
    keys: dict[str, set[str]] = {}
    for entry in container(pod).get("env", []):
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            keys.setdefault(reference["name"], set()).add(reference["key"])
    for entry in container(pod).get("envFrom", []):
        if "secretRef" in entry:
            keys.setdefault(entry["secretRef"]["name"], set()).add("*")
    for entry in pod.get("volumes", []):
        if "secret" in entry:
            keys.setdefault(entry["secret"]["secretName"], set()).add("*")
    return keys


VERSIONS = ("1.29", "1.37")
CORE = {"SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL"}
WORKER = {"PIPELINES_BROKER_URL", "PIPELINES_WORKER_KEY", "PIPELINES_TOKEN"}
COORDINATOR = ("co-web", "co-control-main", "co-control-calls", "co-control-artifacts", "co-clock")


def test_helm_and_kubernetes_accept_every_document() -> None:
    for values in ({}, {"workerReleases": [RELEASE], "keda": {"enabled": True}}):
        report = lint(CHART, values, strict=True)
        assert (report["messages"], report["errors"]) == ([], [])
    for document in full():
        for version in () if document["apiVersion"].startswith("keda.sh/") else VERSIONS:
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
    assert not [name for name in settings if env.declared[name].secret]


def test_each_process_starts_with_its_settings_and_known_options() -> None:
    required = {name for name, variable in env.declared.items() if variable.default is None}
    for name, needed in {**dict.fromkeys(COORDINATOR, required), "co-migrate": {"DATABASE_URL"}}.items():
        given = {variable["name"] for variable in container(pods(full())[name])["env"]}
        assert needed <= given <= set(env.declared), name
    for name in COORDINATOR:
        assert command_of(container(pods(full())[name])["args"][1:])[0] in PROGRAMS


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


@cases(
    "values",
    [
        {"host": "https://coordinator.example"},
        {"settings": {"S3_BUCKET": 1}},
        {"unknown": True},
        {"workerReleases": [{**RELEASE, "releaseVersion": '1.0"} or vector(1'}]},
        {"control": [{"name": "main", "queues": [*QUEUES][:-1], "replicas": 1, "concurrency": 12, "resources": {}}]},
    ],
)
def test_helm_refuses_wrong_values_and_control_workers_that_leave_a_queue_out(values: dict[str, Any]) -> None:
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


def test_every_process_has_probes() -> None:
    for name in of_kind(full(), "Deployment"):
        probed = container(pods(full())[name])
        ports = {port["name"] for port in probed["ports"]}
        kinds = {"startupProbe", "livenessProbe", *(["readinessProbe"] if name == "co-web" else [])}
        for kind in kinds:
            request = probed[kind]["httpGet"]
            assert request["port"] in ports
            assert request["path"] in {"/live", "/health/live", "/health/ready"}


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


PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"]


def of_workers(documents: list[Document]) -> list[Any]:
    worker = of_kind(full(), "Deployment")["co-worker-orders-1-0"]["spec"]["template"]["metadata"]["labels"]
    policies = [document["spec"] for document in of_kind(documents, "NetworkPolicy").values()]
    return [policy for policy in policies if selects(policy["podSelector"], worker)]


@cases(
    ("network", "excluded"),
    [
        ("0.0.0.0/0", PRIVATE),
        ("0.0.0.0/1", ["10.0.0.0/8", "100.64.0.0/10"]),
        ("128.0.0.0/1", ["172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]),
        ("::/0", ["fc00::/7", "fe80::/10"]),
        ("10.1.0.0/16", []),
        ("10.0.0.0/7", ["10.0.0.0/8"]),
        ("192.0.2.0/24", []),
    ],
)
def test_workers_reach_no_private_network_unless_it_is_named(network: str, excluded: list[str]) -> None:
    documents = rendered(workerReleases=[RELEASE], networkPolicies={"steps": [network]})
    rules = [rule for policy in of_workers(documents) for rule in policy.get("egress", [])]
    [block] = [to["ipBlock"] for rule in rules for to in rule["to"] if "except" in to.get("ipBlock", {})]
    assert block == {"cidr": network, "except": excluded}
    for document in documents:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def test_workers_reach_no_database_and_are_reached_by_nobody() -> None:
    matching = of_workers(full())
    ports = [port["port"] for policy in matching for rule in policy.get("egress", []) for port in rule.get("ports", [])]
    assert 5432 not in ports
    arriving = [port["port"] for policy in matching for rule in policy.get("ingress", []) for port in rule["ports"]]
    assert arriving == ["metrics"]


def test_every_pod_is_closed_by_default() -> None:
    default = of_kind(full(), "NetworkPolicy")["co-default"]["spec"]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    for name, workload in of_kind(full(), "Deployment", "Job").items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert selects(default["podSelector"], labels), name


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of pods matches these labels."""
    named = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    excluded = any(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))
    return named and not excluded

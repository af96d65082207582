"""The Helm chart, rendered by Helm's own library, and its documents."""

from functools import cache
from typing import Any

import yaml
from helm_python import Chart

from embedded.product import PROJECT

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
    """Return the documents of these kinds by their names."""
    return {each["metadata"]["name"]: each for each in documents if each["kind"] in kinds}


def pods(documents: list[Document]) -> dict[str, Document]:
    """Return the specification of each workload's pods by the name of the workload."""
    found = of_kind(documents, "Deployment", "Job")
    return {name: each["spec"]["template"]["spec"] for name, each in found.items()}


def container(pod: Document) -> Document:
    [found] = pod["containers"]
    result: Document = found
    return result


def secrets_of(pod: Document) -> dict[str, set[str]]:
    """Return the Secrets that a pod reads, each with the read keys; `*` for all of them."""
    found: dict[str, set[str]] = {}
    for each in container(pod).get("env", []):
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            found.setdefault(reference["name"], set()).add(reference["key"])
    for each in container(pod).get("envFrom", []):
        if "secretRef" in each:
            found.setdefault(each["secretRef"]["name"], set()).add("*")
    for each in pod.get("volumes", []):
        if "secret" in each:
            found.setdefault(each["secret"]["secretName"], set()).add("*")
    return found

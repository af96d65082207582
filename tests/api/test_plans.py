"""REST: drift, the plan of workers, receipts of deployments, and the status of the installation."""

import socket
from typing import Any

import pytest

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from releases.models import Deployment
from tests import making
from tests.api.tenant_api import TenantApi
from tests.cases import cases

pytestmark = pytest.mark.django_db
OTHER_DIGEST = "sha256:" + "0" * 64
SECOND = "org.example.second"


def items(ours: TenantApi, path: str) -> list[dict[str, Any]]:
    response = ours.get(path)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["items"]
    return found


def test_each_drift_has_evidence_a_time_and_a_remedy(ours: TenantApi, theirs: TenantApi) -> None:
    """A worker has another artifact than its release, and the active release of a pipeline has no worker."""
    making.worker(ours.release, "odd", artifact_digest=OTHER_DIGEST)
    making.active(ours.tenant, pipeline_id=SECOND)
    found = items(ours, "drift")
    assert [(each["pipelineId"], each["kind"], each["subject"], each["name"]) for each in found] == [
        (making.PIPELINE, "artifact", "worker", "odd"),
        (SECOND, "deployment", "release", "1.0"),
    ]
    assert {"name": "The worker's artifact", "value": OTHER_DIGEST} in found[0]["evidence"]
    assert all(each["since"] and each["remedy"] for each in found)
    assert items(ours, "pipelines/{pipeline_id}/drift") == found[:1]
    assert items(theirs, "drift") == items(theirs, "pipelines/{pipeline_id}/drift") == []


def test_the_plan_names_the_release_its_reasons_and_its_workers(ours: TenantApi, theirs: TenantApi) -> None:
    making.active(theirs.tenant, pipeline_id=SECOND)
    [found] = items(ours, "worker-plan")
    assert found.pop("queueAgeSeconds") >= 0
    assert found == {
        "pipelineId": making.PIPELINE,
        "contractVersion": ours.release.contract_version,
        "releaseVersion": "1.0",
        "artifactDigest": ours.release.artifacts.get().digest,
        "image": "",
        "reasons": ["active", "openExecutions"],
        "workers": 1,
        "liveWorkers": 1,
        "dueExecutions": 1,
        "mayGo": False,
    }


def test_a_receipt_shows_what_was_deployed_where_and_by_whom(ours: TenantApi, theirs: TenantApi) -> None:
    assert items(ours, "deployments") == []
    assert ours.get("pipelines/{pipeline_id}").json()["application"] == ""
    release = making.registered_carrier(ours.tenant, "2.0")
    made = making.deployed(release, "staging")
    making.deployed(theirs.release)
    assert items(ours, "deployments") == [
        {
            "deploymentId": str(made.pk),
            "pipelineId": making.PIPELINE,
            "releaseVersion": "2.0",
            "application": "shop",
            "environment": "staging",
            "descriptorDigest": release.descriptor_digest,
            "actor": "token:test",
            "createdAt": Deployment.objects.get(pk=made.pk).created_at.isoformat().replace("+00:00", "Z"),
        }
    ]
    assert ours.get("pipelines/{pipeline_id}").json()["application"] == "shop"


def test_receipts_come_in_pages_newest_first(ours: TenantApi, django_assert_max_num_queries: Any) -> None:
    """All rows of the test have the same creation time."""
    made = {str(making.deployed(ours.release, f"environment-{number}").pk) for number in range(20)}
    url, shown = ours.url("deployments?pageSize=7"), []
    while url:
        with django_assert_max_num_queries(8):
            page = ours.call("GET", url).json()
        shown += [each["deploymentId"] for each in page["items"]]
        url = page["next"]
    assert (set(shown), len(shown)) == (made, 20)
    assert shown == sorted(shown, reverse=True)


@cases(
    ("query", "found"),
    [
        ("", 4),
        (f"?pipelineId={SECOND}", 2),
        (f"?pipelineId={SECOND}&environment=staging", 1),
        ("?environment=nowhere", 0),
    ],
)
def test_receipts_are_filtered_by_pipeline_and_environment(ours: TenantApi, query: str, found: int) -> None:
    other = making.registered_carrier(ours.tenant, pipeline_id=SECOND)
    for release in (ours.release, other):
        for environment in ("staging", "production"):
            making.deployed(release, environment)
    assert len(items(ours, f"deployments{query}")) == found


def test_a_tenant_sees_no_hosts_and_only_its_own_queues(ours: TenantApi, theirs: TenantApi) -> None:
    reporter = Reporter(Process.Kind.CLOCK, clock=lambda: 1_000_000.0)
    reporter.report()
    try:
        response = ours.get("status")
    finally:
        reporter.leave()
    assert socket.gethostname() not in response.content.decode()
    body = response.json()
    assert (body["version"], body["database"], body["broker"]) == (version(), "UP", "UP")
    assert [queue["due"] for queue in body["queues"]] == [1], "the one of the fixture"
    [process] = [each for each in body["processes"] if each["driftSeconds"] < -86_400]
    assert (process["kind"], process["version"], process["silent"]) == ("clock", version(), False)

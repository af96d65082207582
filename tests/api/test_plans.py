"""REST: drift, the plan of workers, receipts of deployments, and the status of the installation."""

import socket
from typing import Any

import pytest

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from tests import making
from tests.api.tenant_api import TenantApi

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

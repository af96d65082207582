"""Submissions are rejected unless an eligible worker hosts the release (wire protocol D.8)."""

from typing import Any

import pytest

from executions.models import Execution, Worker
from executions.transports.rest.workers import register
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import PIPELINE, Flow
from tests.interop.client import ok, refused
from tests.interop.submitting import NO_WORKER, accepted, order, submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]


def unavailable(flow: Flow) -> str:
    flow.check()
    status, text = refused(submit(flow.owner))
    assert status == 503
    assert text.startswith(NO_WORKER)
    assert not Execution.objects.filter(tenant=flow.owner).exists()
    return text.removeprefix(NO_WORKER)


def test_silent_drained_and_unknown_workers_are_not_eligible(flow: Flow) -> None:
    making.silence(flow.worker)
    message = "No healthy rest worker lifecycle record for active release; current states: java-1="
    assert unavailable(flow) == message + "STALE"
    ok("POST", f"admin/tenants/{flow.owner.slug}/pipelines/{PIPELINE}/workers/java-1/drain")
    assert unavailable(flow) == message + "DRAINING"
    Worker.objects.filter(pk=flow.worker.pk).update(release_version="another")
    assert unavailable(flow) == "No worker lifecycle record for active release"
    Worker.objects.filter(pk=flow.worker.pk).update(release_version="1.0", protocol="grpc")
    assert unavailable(flow) == "No worker lifecycle record for active release"


@cases(
    ("reported", "message"),
    [
        ({"protocolVersion": "2"}, "Worker capability protocol version is unsupported"),
        ({"releaseVersion": "9"}, "but active release is pipelineId="),
        ({"contractVersion": "c"}, "Worker hosts pipelineId="),
        (
            {"artifactDigest": "sha256:other"},
            "Worker artifact digest sha256:other does not match active release artifact digest sha256:",
        ),
        ({"artifactId": "other"}, "Worker artifact id other does not match active release artifact id app"),
    ],
)
def test_a_worker_that_reports_another_release_is_not_eligible(
    flow: Flow, reported: dict[str, str], message: str
) -> None:
    flow.double.capabilities = reported
    assert message in unavailable(flow)


def registered(flow: Flow, **members: str) -> Worker:
    return register(flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", actor="t", **members)


def test_a_worker_registered_with_another_artifact_is_not_eligible(flow: Flow) -> None:
    registered(flow, endpoint=flow.double.endpoint, artifact_digest="sha256:other")
    assert unavailable(flow) == "Registered worker artifact identity does not match active release"


def test_a_worker_that_cannot_be_checked_is_not_eligible(flow: Flow, settings: Any) -> None:
    failed = "REST transition worker capability check failed: "
    flow.double.secret = "another"
    assert unavailable(flow) == failed + "HTTP 401"
    flow.worker = registered(flow, endpoint=flow.double.endpoint)
    settings.REST_WORKER_ORIGINS = []
    assert unavailable(flow) == failed + "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"
    assert all(request.method == "GET" for request in flow.double.requests)


def test_one_healthy_worker_of_any_kind_is_enough_and_other_reported_members_do_not_matter(flow: Flow) -> None:
    flow.double.capabilities = {"payloadEncodings": ["x"], "workerProtocols": [], "artifactId": "app", "more": 1}
    flow.check()
    accepted(flow.owner, order("without a Celery worker"))
    making.worker(flow.release, "celery-1")
    flow.double.capabilities = {"protocolVersion": "2"}
    flow.check()
    flow.double.requests.clear()
    accepted(flow.owner)
    assert flow.double.requests == [], "a submission calls no worker"

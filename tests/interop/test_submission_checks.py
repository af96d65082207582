"""Submissions are rejected unless an eligible worker hosts the release (wire protocol D.8)."""

from typing import Any

import pytest

from executions.models import Execution, Worker
from executions.transports.rest.workers import register
from tests.cases import cases
from tests.executions.transports.rest.order_flow import Flow
from tests.interop.client import refused
from tests.interop.submitting import NO_WORKER, submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]


def unavailable(flow: Flow) -> str:
    flow.check()
    status, text = refused(submit(flow.owner))
    assert status == 503
    assert text.startswith(NO_WORKER)
    assert not Execution.objects.filter(tenant=flow.owner).exists()
    return text.removeprefix(NO_WORKER)


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
    ],
)
def test_a_worker_that_reports_another_release_is_not_eligible(
    flow: Flow, reported: dict[str, str], message: str
) -> None:
    flow.double.capabilities = reported
    assert message in unavailable(flow)


def registered(flow: Flow, **members: str) -> Worker:
    return register(flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", actor="t", **members)


def test_a_worker_that_cannot_be_checked_is_not_eligible(flow: Flow, settings: Any) -> None:
    failed = "REST transition worker capability check failed: "
    flow.double.secret = "another"
    assert unavailable(flow) == failed + "HTTP 401"
    flow.worker = registered(flow, endpoint=flow.double.endpoint)
    settings.REST_WORKER_ORIGINS = []
    assert unavailable(flow) == failed + "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"
    assert all(request.method == "GET" for request in flow.double.requests)

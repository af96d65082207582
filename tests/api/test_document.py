"""The OpenAPI document is complete, and the status of the installation is served."""

import socket
from typing import Any

from django.conf import settings

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from tests.api.furnished import operations
from tests.api.tenant_api import TenantApi


def test_each_operation_documents_its_token_responses_and_errors(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        statuses = operation["responses"]
        assert any(status < "300" for status in statuses)
        for status, response in statuses.items():
            assert response["content"]
            if status >= "400":
                [(media, content)] = response["content"].items()
                assert (media, content["schema"]) == (
                    "application/problem+json",
                    {"$ref": "#/components/schemas/Problem"},
                )
                assert response["x-codes"], status
        anonymous = operation["operationId"] == "resume"
        assert statuses.keys() >= ({"406", "500"} if anonymous else {"401", "403", "404", "406", "500"})
        assert anonymous or operation["security"] == [{"bearerToken": []}]
        path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert anonymous or "tenant" in path
        assert operation["description"]


def test_a_tenant_sees_no_hosts_and_only_its_own_queues(ours: TenantApi, theirs: TenantApi) -> None:
    reporter = Reporter(
        Process.Kind.CLOCK, clock=lambda: 1_000_000.0, jobs=lambda: {"evaluate-alerts": 20.0, "scrub-blobs": 900.0}
    )
    reporter.report()
    try:
        response = ours.get("status")
    finally:
        reporter.leave()
    assert socket.gethostname() not in response.content.decode()
    body = response.json()
    assert (body["version"], body["database"], body["broker"]) == (version(), "UP", "UP")
    jobs = {each["name"]: (each["late"], each["lastRunAt"] is None) for each in body["jobs"]}
    ran = {"evaluate-alerts": (False, False), "scrub-blobs": (True, False)}
    assert jobs == dict.fromkeys(settings.CELERY_BEAT_SCHEDULE, (True, True)) | ran
    assert [queue["due"] for queue in body["queues"]] == [1], "the one of the fixture"
    [process] = [each for each in body["processes"] if each["driftSeconds"] < -86_400]
    assert (process["kind"], process["version"], process["silent"]) == ("clock", version(), False)

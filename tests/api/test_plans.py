"""REST: the status of the installation."""

import socket

from django.conf import settings

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from tests.api.tenant_api import TenantApi


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

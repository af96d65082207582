"""REST: the status of the installation."""

import socket

import pytest

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from tests.api.tenant_api import TenantApi

pytestmark = pytest.mark.django_db


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

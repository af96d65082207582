"""REST of pipeline policies: effects."""

from typing import Any

import pytest

from executions.models import Worker
from executions.workers.worker_gate import START
from releases.models import Activation, Release
from tenancy.audit import recording
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"pipelines/{making.PIPELINE}"
ACTIVATIONS = f"{PATH}/activations"


@pytest.fixture(scope="module")
def admin(owner: Tenant) -> Caller:
    return Caller(owner, Scope.ADMINISTER, Scope.ACTIVATE)


def test_an_activation_that_the_policy_refuses_is_denied(admin: Caller, owner: Tenant) -> None:
    making.silence(*Worker.objects.filter(tenant=owner))
    refusals: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"reasonRequired": True, "signaturePolicy": "require"}, "", "REASON_REQUIRED"),
        ({}, "because", "SIGNATURE_REQUIRED"),
        ({"signaturePolicy": "off", "workerGate": "require"}, "because", "WORKER_REQUIRED"),
    )
    for policy, reason, code in refusals:
        admin.patch(PATH, policy)
        recording.repeats.reset()
        before, entries = rows(Activation), AuditEntry.objects.count()
        status = 422 if code == "REASON_REQUIRED" else 409
        problem = admin.post(ACTIVATIONS, {"releaseVersion": "1.0", **({"reason": reason} if reason else {})}, status)
        assert (problem["code"], rows(Activation)) == (code, before)
        [entry] = AuditEntry.objects.order_by("id")[entries:]
        assert (entry.act, entry.outcome, entry.object) == ("release.activate", "denied", f"{making.PIPELINE}/1.0")
        assert entry.reason == problem["detail"]
    assert problem["command"] == START
    assert START in problem["detail"]
    making.worker(Release.objects.select_related("pipeline__tenant").get(pipeline__tenant=owner), "another")
    assert admin.post(ACTIVATIONS, {"releaseVersion": "1.0", "reason": "because"}, 201)["sequence"] == 2

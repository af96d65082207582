"""Two tenants use the same names over `/tpf`. Each call reaches only rows of the tenant in its path."""

import uuid

import pytest

from executions.models import Execution, Interaction, Worker
from executions.state_machine import moves
from tenancy.models import Tenant
from tests import making
from tests.interop.client import accepted, base, call, ok, order, payload, place, refused
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
STRING = payload("java.lang.String", "v")


@pytest.fixture
def twins(tpf: None) -> list[Tenant]:
    made = [making.ready()[0] for _ in range(2)]
    for owner in made:
        accepted(owner, order("k", pipelineId=making.PIPELINE, inputPayload=STRING))
    return made


def execution(owner: Tenant) -> Execution:
    return Execution.objects.get(tenant=owner)


def test_a_call_reads_and_changes_only_rows_of_the_tenant_in_its_path(twins: list[Tenant]) -> None:
    for owner, other in (twins, twins[::-1]):
        ours, foreign = f"executions/{execution(owner).pk}", f"executions/{execution(other).pk}"
        assert ok("GET", place(owner, ours))["executionId"] == str(execution(owner).pk)
        for path in (foreign, f"{foreign}/result"):
            assert refused(call("GET", place(owner, path))) == (404, "Not Found")
        answer = call("POST", f"admin/tenants/{owner.slug}/{foreign}/redrive")
        assert refused(answer) == (404, f"Execution not found: {execution(other).pk}")
        [worker], [release] = (ok("GET", f"{base(owner)}/{path}") for path in ("workers", "releases"))
        active = ok("GET", f"{base(owner)}/releases/active")
        assert {document["tenantId"] for document in (worker, release, active)} == {owner.slug}
        before = Worker.objects.filter(tenant=other).values().get()
        pin = {"contractVersion": before["contract_version"], "releaseVersion": before["release_version"]}
        assert ok("POST", f"{base(owner)}/workers/worker-1/drain")["state"] == "DRAINING"
        ok("POST", f"{base(owner)}/workers/worker-1/heartbeat")
        ok("POST", f"{base(owner)}/workers/register", {**pin, "workerId": "worker-1", "protocol": "grpc"})
        assert Worker.objects.filter(tenant=other).values().get() == before
        assert Worker.objects.get(tenant=owner).protocol == "grpc"


@pytest.fixture
def questions(twins: list[Tenant]) -> list[Interaction]:
    """Return one interaction of each tenant. Both have the same correlation id."""
    claims, _ = moves.claim(owner="dispatcher", limit=10, lease_seconds=30, quota=0)
    for claim in claims:
        assert making.record(making.suspension(claim), worker_id="worker-1") == 1
    with unguarded(Interaction):
        Interaction.objects.update(correlation_id="order-1")
    return [Interaction.objects.get(tenant=owner) for owner in twins]


def test_a_tenant_lists_and_answers_only_its_own_questions(questions: list[Interaction]) -> None:
    here, there = questions
    body = {"interactionId": str(there.pk), "responsePayload": STRING}
    assert refused(call("POST", place(here.tenant, "interactions/complete"), body)) == (404, "Not Found")
    shared = {"correlationId": "order-1", "responsePayload": STRING}
    for question in questions:
        [listed] = ok("GET", place(question.tenant, "interactions/pending"))
        done = ok("POST", place(question.tenant, "interactions/complete"), shared)
        assert listed["interactionId"] == done["interactionId"] == str(question.pk)
        assert done["duplicate"] is False


def test_an_error_discloses_nothing_about_another_tenants_question(questions: list[Interaction]) -> None:
    """An answer may have the type that its question names, and only few others."""
    here, there = questions
    for unknown in (there.pk, uuid.uuid4()):
        body = {"interactionId": str(unknown), "responsePayload": payload(there.output_type, {})}
        answer = call("POST", place(here.tenant, "interactions/complete"), body)
        assert refused(answer) == (400, "Invalid request payload")

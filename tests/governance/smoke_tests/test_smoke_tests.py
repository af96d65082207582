import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Execution, SmokeTest
from governance.activation import activation, gates
from governance.activation.activation import activate
from governance.campaigns.selection import Filters, preview
from governance.gradual.changes import start as start_gradual
from governance.gradual.evidence import evidence
from governance.reports.preflight import preflight
from governance.retirement.retirement import blockers, retire, revoke
from governance.smoke_tests import smoke_tests
from governance.smoke_tests.smoke_tests import Verdict, start
from releases import policy
from releases.models import Activation, Pipeline
from tenancy.models import AuditEntry, Tenant
from tests import gradual, making, requesting
from tests.cases import cases
from tests.gradual import plan
from tests.making import release_of
from tests.raw_sql import unguarded
from tests.releases.refusals import refusal
from tests.wakeups import broker
from wire.messages.celery_messages import Outcome

__all__ = ["broker"]
pytestmark = pytest.mark.django_db

ACTOR = "user:test"
Ends = Callable[..., Outcome]


@pytest.fixture(scope="module")
def owner(module_world: None) -> Tenant:
    made, _ = making.ready()
    gradual.candidate(made)
    return made


def begin(owner: Tenant, key: str = "k", version: str = "2.0", **members: Any) -> SmokeTest:
    values = {"actor": ACTOR, "input": {"n": 1}, "idempotency_key": key, **members}
    made: SmokeTest = start(release_of(owner, version), **values).test
    return made


def end(owner: Tenant, test: SmokeTest, *payloads: str, ends: Ends = making.outcome_of, **members: Any) -> None:
    """Run the transition of a smoke test, the only due execution."""
    [claim] = making.claimed(owner)
    assert claim.execution_id == test.execution_id
    if payloads:
        members["output_payloads"] = list(payloads)
    assert making.record(ends(claim, **members)) == 1


def verdict(test: SmokeTest) -> str:
    return str(smoke_tests.smoke_test(test.release, test.execution_id).verdict)


def passed(owner: Tenant, version: str = "2.0", hours: float = 0) -> SmokeTest:
    test = begin(owner, f"passed-{version}", version)
    end(owner, test)
    making.finished(timezone.now() - timedelta(hours=hours), test.execution)
    return test


def test_it_runs_on_a_release_that_is_not_active(owner: Tenant) -> None:
    test = begin(owner)
    execution = Execution.objects.get()
    assert (execution.release_version, execution.smoke, execution.status) == ("2.0", True, "QUEUED")
    assert execution.events.get().data["smoke"] is True
    assert (test.execution_id, test.release.release_version, test.actor) == (execution.pk, "2.0", ACTOR)
    assert verdict(test) == Verdict.PENDING
    end(owner, test)
    assert verdict(test) == Verdict.PASSED


def test_a_repeated_key_is_the_same_test_with_one_entry_in_the_audit_log(owner: Tenant) -> None:
    first = begin(owner, expected_result={"n": 1})
    again = start(
        release_of(owner, "2.0"), actor="user:other", input={"n": 1.0}, idempotency_key="k", expected_result={"n": 1.0}
    )
    assert (again.repeated, again.test.execution_id) == (True, first.execution_id)
    entry = AuditEntry.objects.get(act="release.smoke_test")
    assert (entry.tenant, entry.actor, entry.object) == (owner, ACTOR, f"{making.PIPELINE}/2.0")
    assert json.loads(entry.details) == {"execution": str(first.execution_id)}
    for members in ({"input": {"n": 2}}, {"expected_result": {"n": 2}}, {"expected_result": smoke_tests.ANYTHING}):
        error = refusal(begin, owner, **{"expected_result": {"n": 1}, **members})
        assert (error.code, error.data["executionId"]) == ("IDEMPOTENCY_KEY_REUSED", str(first.execution_id))
    assert begin(owner, version="1.0").execution_id != first.execution_id
    assert SmokeTest.objects.count() == 2
    making.execution(owner, "smoke:2.0:submitted")
    assert refusal(begin, owner, "submitted").code == "IDEMPOTENCY_KEY_REUSED"
    assert SmokeTest.objects.count() == 2


def test_what_a_submission_needs_a_smoke_test_needs(owner: Tenant, settings: Any) -> None:
    many = making.registered(owner, "many", steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}], body="many")
    assert refusal(begin, owner, version=many.release_version).code == "INPUT_INVALID"
    making.registered(owner, "3.0")
    assert refusal(begin, owner, version="3.0").code == "WORKER_UNAVAILABLE"
    holds.pause(release_of(owner, "1.0"), actor=ACTOR, reason="broken", refuses_submissions=True)
    assert refusal(begin, owner, version="1.0").code == "PIPELINE_PAUSED"
    assert begin(owner).execution.release_version == "2.0", "the pause of another release"
    revoke(release_of(owner, "2.0"), actor=ACTOR, reason="leaked")
    assert refusal(begin, owner, "again").code == "RELEASE_NOT_ADMITTED"
    settings.ALLOWED_TENANTS = ["another"]
    assert refusal(begin, owner, "third").code == "TENANT_NOT_ALLOWED"
    assert Execution.objects.count() == 1


@cases(
    ("results", "expected", "passes"),
    (['{"n": 1}'], {"n": 1}, True),
    (['{"n": 1.0}'], {"n": 1}, True),
    (['{"n": 1}'], {"n": True}, False),
    (['{"n": 1}'], None, False),
    (['{"n": 1}'], [{"n": 1}], False),
    (["null"], None, True),
    (['{"n": 1}'], smoke_tests.ANYTHING, True),
)
def test_a_result_passes_if_it_is_expected(owner: Tenant, results: list[str], expected: Any, passes: bool) -> None:
    test = begin(owner, expected_result=expected)
    end(owner, test, *results)
    assert verdict(test) == (Verdict.PASSED if passes else Verdict.OTHER_RESULT)


def test_a_failure_and_a_cancellation_fail_the_test(owner: Tenant) -> None:
    failed = begin(owner, "failed")
    end(owner, failed, ends=making.failure, retryable=False)
    assert verdict(failed) == Verdict.FAILED
    redrive(owner, failed.execution_id, actor=ACTOR, reason="fixed", allow_failed=True)
    assert verdict(failed) == Verdict.PENDING
    end(owner, failed)
    assert verdict(failed) == Verdict.PASSED
    cancelled = begin(owner, "cancelled")
    cancel(owner, cancelled.execution_id, actor=ACTOR, reason="enough")
    assert verdict(cancelled) == Verdict.FAILED


def test_neither_preflights_nor_campaigns_count_it(owner: Tenant) -> None:
    end(owner, begin(owner, "failed"), ends=making.failure, retryable=False)
    begin(owner, "live")
    report = preflight(release_of(owner, "2.0"))
    assert (report.load.pinned, report.callers.submissions) == (0, 0)
    assert preview(owner, Filters(pipeline_id=making.PIPELINE), allow_failed=True).count == 0


def test_it_blocks_a_retirement_only_while_it_runs(owner: Tenant) -> None:
    test = begin(owner)
    assert [(blocker.kind, blocker.count) for blocker in blockers(release_of(owner, "2.0"))] == [("QUEUED", 1)]
    end(owner, test, ends=making.failure, retryable=False)
    assert blockers(release_of(owner, "2.0")) == []
    retire(release_of(owner, "2.0"), actor=ACTOR, reason="replaced")


@pytest.fixture
def gated(owner: Tenant) -> Tenant:
    policy.change(Pipeline.objects.get(tenant=owner), {"smokeTestHours": 2}, actor=ACTOR)
    return owner


def activated(owner: Tenant, version: str = "2.0", reason: str = "") -> Activation:
    return activate(release_of(owner, version), actor=ACTOR, reason=reason)


def test_an_activation_needs_a_passed_smoke_test_of_its_release(gated: Tenant) -> None:
    [gate] = [gate for gate in gates.judge(activation.planned(release_of(gated, "2.0"))) if gate.name == "smoke test"]
    assert gate.verdict is gates.Verdict.UNMET
    assert "has passed no smoke test in the last 2 hours" in gate.detail
    before = Activation.objects.count()
    error = refusal(activated, gated)
    assert (error.code, error.status, error.data) == ("SMOKE_TEST_REQUIRED", 409, {"smokeTestHours": 2})
    making.execution(gated, "ordinary")
    [claim] = making.claimed(gated)
    assert making.record(making.outcome_of(claim)) == 1
    assert refusal(activated, gated, "1.0").code == "SMOKE_TEST_REQUIRED"
    passed(gated, "1.0")
    test = begin(gated)
    assert refusal(activated, gated).code == "SMOKE_TEST_REQUIRED"
    end(gated, test, ends=making.failure, retryable=False)
    assert refusal(activated, gated).code == "SMOKE_TEST_REQUIRED"
    end(gated, begin(gated, "other", expected_result={"n": 2}), '{"n": 1}')
    assert refusal(activated, gated).code == "SMOKE_TEST_REQUIRED"
    assert Activation.objects.count() == before
    assert AuditEntry.objects.filter(act="release.activate", outcome="denied").exists()
    test = passed(gated, hours=2.1)
    assert refusal(activated, gated).code == "SMOKE_TEST_REQUIRED", "it is older than the policy says"
    making.finished(timezone.now() - timedelta(hours=1.9), test.execution)
    assert activated(gated).release.release_version == "2.0"


def test_a_rollback_to_a_release_that_was_active_lately_needs_none(gated: Tenant) -> None:
    passed(gated)
    activated(gated)
    [gate] = [gate for gate in gates.judge(activation.planned(release_of(gated, "1.0"))) if gate.name == "smoke test"]
    assert "was active in the last 30 days" in gate.detail
    with unguarded(Activation):
        Activation.objects.update(activated_at=timezone.now() - timedelta(days=31))
    assert refusal(activated, gated, "1.0", "worse").code == "SMOKE_TEST_REQUIRED"
    with unguarded(Activation):
        Activation.objects.update(activated_at=timezone.now() - timedelta(days=29))
    made = activation.roll_back(requesting.read(gated), actor=ACTOR, reason="worse", recent_only=True)
    assert made.release.release_version == "1.0"


def test_a_smoke_test_of_the_candidate_is_no_evidence(owner: Tenant) -> None:
    made = start_gradual(release_of(owner, "2.0"), plan(50), actor=ACTOR)
    end(owner, begin(owner), ends=making.failure, retryable=False)
    with unguarded(Execution):
        Execution.objects.update(created_at=timezone.now())
        assert evidence(made).candidate.ended == 0
        Execution.objects.update(smoke=False)
        assert evidence(made).candidate.ended == 1


def test_a_gradual_activation_needs_a_passed_smoke_test(gated: Tenant) -> None:
    error = refusal(start_gradual, release_of(gated, "2.0"), plan(50), actor=ACTOR)
    assert error.code == "SMOKE_TEST_REQUIRED"
    assert AuditEntry.objects.filter(act="gradual_activation.start", outcome="denied").exists()
    passed(gated)
    assert start_gradual(release_of(gated, "2.0"), plan(50), actor=ACTOR).status == "RUNNING"

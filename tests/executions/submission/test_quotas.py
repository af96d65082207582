import json
import time
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command

from executions.errors import IdempotencyKeyReused, TenantNotAllowed
from executions.lifecycle import interventions
from executions.models import Execution
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError, PayloadTooLarge, QuotaExceeded
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from tenancy.models import Tenant
from tests import making
from tests.executions import moments
from tests.raw_sql import raised

ACTOR = "user:test"
WHY: dict[str, Any] = {"actor": ACTOR, "reason": "again"}


def requests(*keys: object, value: Any = None) -> list[ExecutionRequest]:
    return [ExecutionRequest(making.PIPELINE, value or {"n": 1}, str(key)) for key in keys]


def accepted(owner: Tenant, *keys: object) -> int:
    verdicts = submit_many(owner, requests(*keys), actor=ACTOR)
    return sum(isinstance(verdict, Submission) for verdict in verdicts)


def refusal(owner: Tenant, key: object, **more: Any) -> CoordinatorError:
    [verdict] = submit_many(owner, requests(key, **more), actor=ACTOR)
    assert isinstance(verdict, CoordinatorError)
    return verdict


def begin_second() -> None:
    """Wait until a second of the database's clock begins."""
    moments.read("pg_sleep(1.02 - extract(epoch FROM clock_timestamp()) % 1)")


def test_a_batch_is_accepted_up_to_the_quota_of_a_second(owner: Tenant) -> None:
    owner.quota_submissions = 5
    begin_second()
    assert accepted(owner, *range(8)) == 5
    error = refusal(owner, "more")
    assert isinstance(error, QuotaExceeded)
    assert error.data == {"quota": "submissionsPerSecond", "retryAfter": 1}
    begin_second()
    assert accepted(owner, *range(100, 108)) == 5


def test_open_executions_are_limited_until_some_end(owner: Tenant) -> None:
    assert accepted(owner, *range(3)) == 3
    assert moments.read("count(*) FROM tenancy_allowance") == 0, "without quotas no permits are stored"
    owner.quota_open_executions = 4
    assert accepted(owner, "a", "b") == 1
    caught = raised(QuotaExceeded, making.submitted, owner, "more", actor=ACTOR)
    assert caught.data["quota"] == "openExecutions"
    first = Execution.objects.order_by("execution_key")[0]
    interventions.cancel(owner, first.pk, actor=ACTOR, reason="no")
    time.sleep(0.15)
    assert accepted(owner, "c", "d") == 1
    owner.quota_open_executions = 3
    time.sleep(0.15)
    assert accepted(owner, "e") == 0
    assert Execution.objects.filter(status="QUEUED").count() == 4


def test_a_repeated_key_is_never_refused_and_uses_no_permit(owner: Tenant) -> None:
    owner.quota_open_executions = 3
    assert accepted(owner, "k", "k", "k") == 3
    assert accepted(owner, "k") == 1
    assert accepted(owner, "b", "c", "d") == 2
    [again] = submit_many(owner, requests("k"), actor=ACTOR)
    assert isinstance(again, Submission)
    assert (again.duplicate, again.execution_id) == (True, Execution.objects.get(execution_key="k").pk)


def test_the_size_of_a_new_input_is_limited(owner: Tenant) -> None:
    value = {"n": 1, "text": "x" * 20}
    first = making.execution(owner, "before", value)
    owner.quota_payload_bytes = 20
    error = refusal(owner, "k", value=value)
    assert isinstance(error, PayloadTooLarge)
    assert error.data == {"limit": 20, "quota": "payloadBytes"}
    assert accepted(owner, "k") == 1
    assert making.execution(owner, "before", value) == first
    assert isinstance(refusal(owner, "before", value={"text": "x" * 20}), IdempotencyKeyReused)


def test_a_tenant_no_longer_allowed_starts_nothing_but_its_executions_continue(owner: Tenant, settings: Any) -> None:
    [dead] = making.dead(owner, "dead")
    accepted = making.execution(owner, "accepted")
    settings.ALLOWED_TENANTS = ["another"]
    assert owner.slug in str(raised(TenantNotAllowed, making.execution, owner, "new"))
    raised(TenantNotAllowed, interventions.redrive, owner, dead.pk, **WHY)
    filters = Filters(pipeline_id=making.PIPELINE)
    raised(TenantNotAllowed, campaigns.start, owner, filters, rate_per_minute=60, **WHY)
    assert [claim.execution_id for claim in making.claimed(owner)] == [accepted.pk]


def test_executions_above_the_quota_are_claimed_later(owner: Tenant) -> None:
    assert accepted(owner, *range(5)) == 5
    first, _ = making.claimed(owner, quota=2)
    assert making.claimed(owner, quota=2) == []
    assert making.record(making.outcome_of(first)) == 1
    assert len(making.claimed(owner, quota=2)) == 1
    assert len(making.claimed(owner)) == 2, "without a quota, all others"
    assert making.claimed(owner, quota=2) == [], "a lowered quota does not affect running executions"
    assert Execution.objects.filter(status="RUNNING").count() == 4


def listed(*arguments: str) -> list[list[str]]:
    output = StringIO()
    call_command("list_accepted", *arguments, stdout=output)
    lines = map(json.loads, output.getvalue().splitlines())
    return [[line["tenant"], line["pipelineId"], line["idempotencyKey"], line["executionId"]] for line in lines]


def test_it_lists_what_was_accepted_since_a_time() -> None:
    accepted = []
    for owner in sorted((making.ready()[0] for _ in range(2)), key=lambda tenant: tenant.slug):
        made = making.execution(owner, "a key")
        accepted.append([owner.slug, making.PIPELINE, "a key", str(made.pk)])
    at = made.created_at.isoformat()
    assert listed(f"--since={at}") == accepted
    assert listed(f"--since={at}", f"--tenant={accepted[0][0]}") == accepted[:1]
    assert listed("--since=2999-01-01T00:00:00Z") == []
    assert "must be a time" in str(raised(CommandError, listed, "--since=yesterday"))

"""REST of failure groups: the list, one group, and what people decide about it."""

import pytest
from django.contrib.auth.models import User

from executions.models import Campaign, CampaignItem, Execution, FailureGroup
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Tenant:
    owner, _ = making.ready()
    making.dead(owner, "a", "b", code="Lost")
    making.dead(owner, "c", code="Full", retryable=False)
    return owner


@pytest.fixture
def caller(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE)


def group(code: str) -> FailureGroup:
    return FailureGroup.objects.get(error_code=code)


def test_the_list_has_each_group_with_its_numbers(caller: Caller) -> None:
    found = {each["errorCode"]: each for each in caller.get("failure-groups")["items"]}
    lost = found["Lost"]
    assert found.keys() == {"Lost", "Full"}
    assert (lost["pipelineId"], lost["releaseVersion"], lost["releaseStatus"]) == (making.PIPELINE, "1.0", "REGISTERED")
    assert (lost["stepIndex"], lost["stepName"], lost["sampleMessage"]) == (0, "Validate", "why")
    assert (lost["new"], lost["acknowledgedBy"], lost["acknowledgedAt"]) == (True, "", None)
    assert lost["failures"] == {
        "total": 2,
        "open": 2,
        "countedAtMost": 500,
        "hourCountedAtMost": 100,
        "more": False,
        "lastHour": 2,
        "lastDay": 2,
        "byHour": [*[0] * 23, 2],
    }


@cases(
    ("query", "codes"),
    [
        ("errorCode=Lost", {"Lost"}),
        ("new=true", {"Full"}),
        ("new=false", {"Lost"}),
        ("assignee=ann", {"Lost"}),
        ("releaseVersion=2.0", set()),
        (f"pipelineId={making.PIPELINE}&since=2020-01-01T00:00:00Z", {"Lost", "Full"}),
        ("since=2999-01-01T00:00:00Z", set()),
    ],
)
def test_the_filters(caller: Caller, owner: Tenant, query: str, codes: set[str]) -> None:
    ann = User.objects.create_user("ann")
    Membership.objects.create(user=ann, tenant=owner, role=Role.OPERATOR)
    caller.patch(f"failure-groups/{group('Lost').pk}", {"acknowledged": True, "assignee": "ann"})
    assert {each["errorCode"] for each in caller.get(f"failure-groups?{query}")["items"]} == codes


def test_a_group_is_changed_and_read(caller: Caller) -> None:
    path = f"failure-groups/{group('Lost').pk}"
    changed = caller.patch(path, {"acknowledged": True, "note": "the bank is down"})
    assert (changed["new"], changed["note"], changed["assignee"]) == (False, "the bank is down", "")
    assert changed["acknowledgedBy"].startswith("token:")
    assert changed["failures"]["countedAtMost"] == 10_000
    assert caller.get(path) == changed
    assert caller.patch(path, {"acknowledged": False})["acknowledgedBy"] == ""
    assert AuditEntry.objects.filter(act="failure_group.change", outcome="granted").count() == 2


def test_an_assignee_who_may_not_operate_is_refused(caller: Caller) -> None:
    before = rows(FailureGroup)
    found = caller.patch(f"failure-groups/{group('Lost').pk}", {"assignee": "nobody", "acknowledged": True}, 422)
    assert (found["code"], found["assignee"]) == ("ASSIGNEE_INVALID", "nobody")
    assert rows(FailureGroup) == before


def test_dead_letters_name_their_group_and_are_filtered_by_it(caller: Caller) -> None:
    lost = str(group("Lost").pk)
    items = caller.get(f"dead-letters?failureGroupId={lost}")["items"]
    assert [(each["failureGroupId"], each["failedStepIndex"]) for each in items] == [(lost, 0)] * 2


def test_a_campaign_runs_the_executions_of_a_group(caller: Caller) -> None:
    filters = {"failureGroup": str(group("Lost").pk)}
    assert caller.post("campaigns/preview", {"filters": filters}, 200)["count"] == 2
    started = caller.post("campaigns", {"filters": filters, "reason": "fixed", "ratePerMinute": 1}, 201)
    assert started["filters"] == filters
    items = CampaignItem.objects.filter(campaign=Campaign.objects.get())
    keys = Execution.objects.filter(pk__in=items.values("execution")).values_list("execution_key", flat=True)
    assert set(keys) == {"a", "b"}
    failed = {"failureGroup": str(group("Full").pk)}
    assert caller.post("campaigns/preview", {"filters": failed}, 200)["count"] == 0
    assert caller.post("campaigns/preview", {"filters": failed, "allowFailed": True}, 200)["count"] == 1


def test_a_caller_without_the_scope_gets_no_message(caller: Caller, owner: Tenant) -> None:
    reader = Caller(owner, Scope.READ, Scope.OPERATE)
    one = f"failure-groups/{group('Lost').pk}"
    shown = [*reader.get("failure-groups")["items"], reader.get(one), reader.patch(one, {"note": "n"})]
    assert {each["sampleMessage"] for each in shown} == {None}

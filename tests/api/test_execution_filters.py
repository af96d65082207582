"""REST: the filters of the list of executions, which are those of the console."""

import uuid

import pytest

from executions.api import executions as executions_api
from executions.models import Execution, FailureGroup
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ)


@pytest.fixture
def rows(owner: Tenant) -> tuple[Execution, Execution]:
    """A failed execution, and a queued one with a tag."""
    [dead] = making.dead(owner, "order-1", code="NO_FUNDS")
    queued = making.execution(owner, "order-2")
    with unguarded(Execution):
        Execution.objects.filter(pk=queued.pk).update(
            tags=["customer=42"], submitted_by="user:eva", created_at="2026-01-01T12:00:00Z", current_step_index=1
        )
    return dead, queued


@cases(
    ("query", "keys"),
    [
        ("errorCode=NO_FUNDS", ["order-1"]),
        ("errorCode=no_funds", []),
        ("submittedBy=user:eva", ["order-2"]),
        ("tag=customer=42", ["order-2"]),
        ("tag=customer", []),
        ("prefix=order-", ["order-1", "order-2"]),
        ("prefix=order-2", ["order-2"]),
        ("prefix=rder-2", []),
        ("stepIndex=0", ["order-1"]),
        ("stepIndex=1", ["order-2"]),
        ("createdFrom=2026-01-01T12:00:00Z", ["order-1", "order-2"]),
        ("createdTo=2026-01-01T12:00:00Z", []),
        ("createdTo=2026-01-01T12:00:01Z", ["order-2"]),
        ("finishedFrom=2026-01-01T12:00:00Z", ["order-1"]),
        ("prefix=order-&tag=customer=42&stepIndex=1&status=QUEUED", ["order-2"]),
        ("prefix=order-&errorCode=NO_FUNDS&stepIndex=1", []),
    ],
)
def test_a_filter_selects_executions(query: str, keys: list[str], reader: Caller, rows: tuple[Execution, ...]) -> None:
    found = reader.get(f"executions?{query}")["items"]
    assert sorted(item["idempotencyKey"] for item in found) == keys


def test_the_beginning_of_an_id_selects_it(reader: Caller, rows: tuple[Execution, ...]) -> None:
    for row in rows:
        found = reader.get(f"executions?prefix={str(row.pk)[:-1]}")["items"]
        assert str(row.pk) in [item["executionId"] for item in found]


def test_a_failure_group_selects_the_executions_that_failed_so(reader: Caller, rows: tuple[Execution, ...]) -> None:
    [group] = FailureGroup.objects.all()
    for query, keys in ((f"failureGroupId={group.pk}", ["order-1"]), (f"failureGroupId={uuid.UUID(int=1)}", [])):
        assert [item["idempotencyKey"] for item in reader.get(f"executions?{query}")["items"]] == keys


@cases(
    "query", ["failureGroupId=x", "stepIndex=x", "stepIndex=-1", "stepIndex=1.5", "stepIndex=10001", "createdFrom=1h"]
)
def test_an_invalid_filter_is_named(query: str, reader: Caller) -> None:
    problem = reader.get(f"executions?{query}", status=400)
    assert [error["field"] for error in problem["errors"]] == [query.split("=")[0]]


def test_a_search_that_takes_too_long_is_refused(
    reader: Caller, rows: tuple[Execution, ...], owner: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unguarded(Execution):
        making.copies(making.execution(owner, "copied"), 10_000)
    monkeypatch.setattr(executions_api, "LIST_SECONDS", 0.001)
    assert reader.get("executions?releaseVersion=none", status=422)["code"] == "QUERY_TOO_SLOW"


def test_nothing_of_another_tenant_is_found(rows: tuple[Execution, ...]) -> None:
    stranger = Caller(making.ready()[0], Scope.READ)
    for query in ("prefix=order-", f"prefix={rows[0].pk}", "errorCode=NO_FUNDS", "stepIndex=0", "tag=customer=42"):
        assert stranger.get(f"executions?{query}")["items"] == []

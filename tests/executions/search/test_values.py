"""Values of inputs: which are indexed by each way to submit, and which executions they find."""

from typing import Any

import pytest

from executions.models import Execution, SearchValue
from executions.search import Search, matching
from executions.search_steps import MOST_RARE
from executions.search_values import conditions, declared
from executions.submission.submission import ExecutionRequest, submit_many
from foundation.errors import InvalidRequest
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from governance.smoke_tests import smoke_tests
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner, raised
from tests.unit.wire.comparison.releases import field, record

FIELDS = (field("customer"), field("total", "decimal", optional=True), field("due", "date", optional=True))
TYPES = {"Order": {"definition": record(*FIELDS)}}
SEARCH = {"customer": "customer", "total": "total", "due": "due", "gone": "customer.id"}


def release(owner: Tenant, version: str, search: dict[str, str]) -> Release:
    return making.declaring(owner, version, document=making.contract(canonicalTypes=TYPES), search=search)


@pytest.fixture(scope="module")
def owner(module_world: None) -> Tenant:
    """A tenant whose active release declares `total` alone. The one before declared SEARCH."""
    owner = making.tenant()
    first, second = release(owner, "1.0", SEARCH), release(owner, "2.0", {"total": "total"})
    activate(first, actor="user:test")
    inputs = [{"customer": f"c-{number}", "total": f"{number}.50"} for number in range(3)]
    requests = [ExecutionRequest(making.PIPELINE, values, f"batch-{number}") for number, values in enumerate(inputs)]
    submit_many(owner, requests, actor="token:test")
    failing = making.submitted(owner, "named", {"customer": "c-9", "total": "9"}, release_version="1.0")
    [claim] = [claim for claim in making.claimed(owner) if claim.execution_id == failing.execution_id]
    making.record(making.failure(claim, retryable=False))
    making.submitted(owner, "long", {"customer": "x" * 300, "due": "2026-02-01"})
    making.submitted(owner, "many", [{"customer": "c-1"}], input_shape="MULTI")
    smoke_tests.start(second, input={"customer": "c-7", "total": "7"}, idempotency_key="s", actor="user:test")
    activate(second, actor="user:test")
    resubmit(owner, failing.execution_id, actor="user:test", reason="again", operation_key="same")
    edited = {"customer": "c-8", "total": "8"}
    again: dict[str, Any] = {"actor": "user:test", "reason": "again", "operation_key": "edited", "allow_replaced": True}
    resubmit(owner, failing.execution_id, release_version="1.0", input=edited, **again)
    return owner


def key_of(execution: Execution) -> str:
    return execution.execution_key.rpartition(":")[2]


def test_each_way_to_submit_indexes_what_the_pinned_release_declares(owner: Tenant) -> None:
    indexed: dict[str, dict[str, str]] = {}
    for row in Execution.objects.filter(tenant=owner).order_by("pk"):
        indexed[key_of(row)] = {value.name: value.shown for value in row.search_values.all()}
    assert indexed == {
        **{f"batch-{number}": {"customer": f"c-{number}", "total": f"{number}.5"} for number in range(3)},
        "named": {"customer": "c-9", "total": "9"},
        "long": {"customer": "x" * 200, "due": "2026-02-01"},
        "many": {},
        "s": {"total": "7"},
        "same": {"total": "9"},
        "edited": {"customer": "c-8", "total": "8"},
    }
    assert [value.name for value in declared([owner.pk], making.PIPELINE)] == ["total"]


@cases(
    ("query", "keys"),
    ({"customer": "c-1"}, "batch-1"),
    ({"customer": "c-1", "total": "1.5"}, "batch-1"),
    ({"customer": "c-1", "total": "2.5"}, ""),
    ({"customer": "x" * 300}, "long"),
    ({"customer": "C-1"}, ""),
    ({"total": "9.00"}, "named same"),
    ({"total.from": "7", "total.to": "9"}, "s edited"),
    ({"due": "2026-02-01"}, "long"),
    ({"due.from": "2026-01-31T23:00:00-02:00", "due.to": "2026-02-02"}, ""),
    ({"due.from": "2026-02-01T01:00:00+01:00"}, "long"),
)
def test_values_and_ranges_find_executions_of_the_tenant(owner: Tenant, query: dict[str, str], keys: str) -> None:
    search = Search(values=conditions({f"search.{name}": value for name, value in query.items()}))
    stranger = making.tenant()
    release(stranger, "1.0", SEARCH)
    assert {key_of(row) for row in matching([owner], search).newest(50)} == {*keys.split()}
    assert list(matching([stranger], search).all()) == []


def test_common_values_are_found_newest_first(owner: Tenant) -> None:
    execution = Execution.objects.get(tenant=owner, execution_key__endswith=":same")
    making.copies(execution, MOST_RARE + 1)
    with as_owner():
        copied = Execution.objects.filter(tenant=owner, execution_key__startswith="k")
        pipeline = execution.release.pipeline_id
        SearchValue.objects.bulk_create(
            SearchValue(execution=copy, pipeline_id=pipeline, name="total", number=9) for copy in copied
        )
    matches = matching([owner], Search(values=conditions({"search.total": "9"})))
    assert len(matches.all()) == MOST_RARE + 3


def test_a_field_that_only_another_tenant_declares_is_unknown(owner: Tenant) -> None:
    stranger, search = making.tenant(), Search(values=conditions({"search.customer": "c-1"}))
    making.registered(stranger)
    raised(InvalidRequest, matching, [stranger], search)


@cases(
    ("parameter", "value", "code", "rule"),
    ("search.total.from", "many", "INVALID", "must be a number or a time"),
    ("search.customer", "x" * 1501, "INVALID", "must be a text of at most"),
    ("search..from", "1", "UNKNOWN", "names no field"),
    ("search.customer.id", "1", "UNKNOWN", "names no field"),
    ("search.nobody", "1", "UNKNOWN", "is declared by no release"),
)
def test_a_wrong_condition_is_named(owner: Tenant, parameter: str, value: str, code: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        matching([owner], Search(values=conditions({parameter: value})))
    [error] = refused.value.errors
    assert (error["field"], error["code"], error["message"][: len(rule)]) == (parameter, code, rule)

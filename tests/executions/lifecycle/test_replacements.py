import json
from collections.abc import Callable
from typing import Any

import pytest

from executions.errors import ExecutionReplaced
from executions.explanation.explanation import explain
from executions.lifecycle.interventions import redrive
from executions.lifecycle.replacements import not_replaced, replaced
from executions.lifecycle.retention import remove
from executions.models import Campaign, Execution
from executions.models.states import State
from governance.campaigns import drafts
from governance.campaigns.selection import chosen, preview
from governance.resubmission.resubmission import resubmit
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.executions.lifecycle.test_cancel_and_redrive import bring_to
from tests.governance.campaigns.campaigning import OF_THE_PIPELINE, advance, codes, start
from tests.raw_sql import raised, run, unguarded

BY: dict[str, Any] = {"actor": "user:ann", "reason": "again"}
Family = dict[str, Execution]
FAILED = ("FAILED", "DLQ")


@pytest.fixture
def first(owner: Tenant) -> Execution:
    [execution] = making.dead(owner, "key")
    return execution


def again(execution: Execution, **members: Any) -> Execution:
    return resubmit(execution.tenant, execution.pk, **BY, **members)


def redriven(execution: Execution, **members: Any) -> Execution:
    return redrive(execution.tenant, execution.pk, **BY, allow_failed=True, **members).execution


def ended(execution: Execution, status: str = "DLQ") -> Execution:
    bring_to(status, execution)
    return making.reread(execution)


@cases("status", [*State, "removed"])
def test_a_resubmission_replaces_its_original_unless_it_failed_or_was_cancelled(first: Execution, status: str) -> None:
    owner, second = first.tenant, again(first)
    bring_to("SUCCEEDED" if status == "removed" else status, second)
    if status == "removed":
        Tenant.objects.filter(pk=owner.pk).update(retention_days=1)
        making.aged(making.reread(second), days=2)
        assert remove(seconds=60) == 1
    if status in (*FAILED, "CANCELLED"):
        assert redriven(first).status == "QUEUED"
        return
    state, version = (None, None) if status == "removed" else (status, "1.0")
    data = {"executionId": str(second.pk), "executionStatus": state, "releaseVersion": version}
    for act in redrive, resubmit:
        assert raised(ExecutionReplaced, act, owner, first.pk, **BY).data == data
    redriven(first, allow_replaced=True)
    [event], [entry] = first.events.filter(kind="REDRIVEN"), AuditEntry.objects.filter(act="execution.redrive")
    assert event.data["replacedBy"] == json.loads(entry.details)["replacedBy"] == str(second.pk)
    said = f"user:ann re-drove it, although its work had moved to {second.pk}: again"
    assert said in [entry.text for entry in explain(first, payloads=False).history]


def a_chain(first: Execution) -> Family:
    """The last one carries on the work of all before it."""
    second = ended(again(first))
    return {"": again(second), "first": first, "second": second}


def an_original_that_runs_again(first: Execution) -> Family:
    second = ended(again(first))
    return {"": redriven(first), "second": second}


def a_sibling(first: Execution) -> Family:
    failed = ended(again(first))
    return {"": ended(again(first), "SUCCEEDED"), "first": first, "failed": failed}


def a_succeeded_original(first: Execution) -> Family:
    """Its repetition was wanted, and may be tried again."""
    made = making.execution(first.tenant, "succeeded")
    second = ended(again(ended(made, "SUCCEEDED")))
    return {"none": second}


def a_parent(first: Execution) -> Family:
    """A resubmission of the parent calls its children again."""
    [child] = making.dead(first.tenant, "child")
    with unguarded(Execution):
        run("UPDATE executions_execution SET parent_id = %s WHERE id = %s", first.pk, child.pk)
    return {"": again(first), "child": child}


@cases("family", [a_chain, an_original_that_runs_again, a_sibling, a_succeeded_original, a_parent])
def test_all_that_came_of_the_same_work_counts(first: Execution, family: Callable[[Execution], Family]) -> None:
    members = family(first)
    carrying = members.pop("", None)
    rows = Execution.objects.filter(pk__in=[each.pk for each in members.values()])
    assert set(replaced(rows)) == (set(members.values()) if carrying else set())
    assert not_replaced(rows).count() + replaced(rows).count() == len(members)
    for each in members.values():
        if carrying is None:
            assert redriven(each).status == "QUEUED"
        else:
            refused = raised(ExecutionReplaced, redriven, each)
            assert refused.data["executionId"] == str(carrying.pk)


def test_a_resubmission_after_a_redrive_that_succeeded_needs_a_confirmation(first: Execution) -> None:
    ended(redriven(first), "SUCCEEDED")
    assert raised(ExecutionReplaced, again, first).data["executionId"] == str(first.pk)
    assert again(first, allow_replaced=True).status == "QUEUED"
    event, entry = first.events.get(kind="RESUBMITTED"), AuditEntry.objects.get(act="execution.resubmit")
    assert event.data["replacedBy"] == json.loads(entry.details)["replacedBy"] == str(first.pk)


@cases("kind", ["redrive", "resubmit"])
def test_a_campaign_leaves_out_what_is_replaced_and_runs_each_work_once(owner: Tenant, kind: str) -> None:
    one, two, three = making.dead(owner, "1", "2", "3")
    ended(again(one), "SUCCEEDED")
    failed, cancelled = ended(again(two)), ended(again(three), "CANCELLED")
    assert (preview(owner, OF_THE_PIPELINE).count, preview(owner, OF_THE_PIPELINE).replaced) == (4, 1)
    rows = chosen(owner, [one.pk, two.pk, three.pk, failed.pk])
    contents = drafts.contents(drafts.freeze(owner, Campaign.Kind(kind), rows, actor="user:ann"))
    assert (contents.count, contents.replaced) == (4, 1)
    made = start(owner, kind=Campaign.Kind(kind))
    assert (advance(), advance()) == (2, 0)
    assert codes(made) == dict.fromkeys([one.pk, failed.pk], "EXECUTION_REPLACED")
    assert cancelled.status == "CANCELLED"

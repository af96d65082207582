"""The pages of failure groups: the list, the decision, the failures, and what can be done."""

from django.test import Client

from executions.models import DeadLetter, FailureGroup
from tests.admin import operator_rows
from tests.admin.browsing import listed, to
from tests.admin.conftest import World
from tests.cases import cases


def group_of(key: str) -> FailureGroup:
    letter = DeadLetter.objects.select_related("group").filter(execution__execution_key=key)[0]
    assert letter.group is not None
    return letter.group


def page(of: FailureGroup) -> str:
    return to("executions_failuregroup_change", of)


def decide(of: FailureGroup) -> str:
    return to("executions_failuregroup_decide", of)


@cases(
    ("query", "expected"),
    [
        *(("state=new", ["Full"]), ("state=acknowledged", ["Lost"]), ("state=mine", ["Lost"])),
        *(("error=Full", ["Full"]), ("release=9", []), ("since=hour", ["Full", "Lost"])),
    ],
)
def test_the_filters(operator: Client, acme: World, query: str, expected: list[str]) -> None:
    operator_rows.dead(acme, "a", code="Lost")
    operator.post(decide(group_of("a")), {"acknowledged": "yes", "assignee": "operator"})
    operator_rows.dead(acme, "b", code="Full")
    assert sorted(row.error_code for row in listed(operator, "executions_failuregroup", query)) == expected


def test_a_group_is_acknowledged_assigned_and_annotated(viewer: Client, operator: Client, acme: World) -> None:
    operator_rows.dead(acme, "a")
    found = group_of("a")
    for wrong in ({"assignee": "viewer"}, {"note": "x" * 1001}):
        operator.post(decide(found), {"acknowledged": "yes", **wrong})
        assert FailureGroup.objects.get().is_new
    for fields in ({"acknowledged": "yes"}, {"assignee": "operator"}, {"note": "<b>the bank</b>"}):
        assert operator.post(decide(found), fields).headers["Location"] == page(found)
    found = FailureGroup.objects.get()
    assert (found.is_new, found.acknowledged_by) == (False, "user:operator")
    assert (found.assignee, found.note) == ("operator", "<b>the bank</b>")
    assert "<b>the bank" not in operator.get(page(found)).text
    operator.post(decide(found), {"acknowledged": "no"})
    assert FailureGroup.objects.get().is_new
    assert f'<form method="post" action="{decide(found)}' not in viewer.get(page(found)).text

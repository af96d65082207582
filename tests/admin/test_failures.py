"""The pages of failure groups: the list, the decision, the failures, and what can be done."""

from django.test import Client

from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution, FailureGroup
from executions.smoke_tests import smoke_tests
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import at, listed, to
from tests.admin.conftest import World
from tests.cases import cases

LIST = "executions_failuregroup_changelist"


def group_of(key: str) -> FailureGroup:
    letter = DeadLetter.objects.select_related("group").filter(execution__execution_key=key)[0]
    assert letter.group is not None
    return letter.group


def page(of: FailureGroup) -> str:
    return to("executions_failuregroup_change", of)


def decide(of: FailureGroup) -> str:
    return to("executions_failuregroup_decide", of)


def again(world: World, key: str) -> None:
    redrive(world.tenant, Execution.objects.get(execution_key=key).pk, actor="user:eva", reason="")


def test_the_list_shows_each_group_once_with_its_numbers(viewer: Client, acme: World) -> None:
    operator_rows.dead(acme, "a", "b", "c", code="Lost", message="order 1 is lost")
    operator_rows.dead(acme, "d", code="Full")
    answer = viewer.get(to(LIST))
    assert sorted(row.error_code for row in answer.context["cl"].result_list) == ["Full", "Lost"]
    assert "3 of 3" in answer.text


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


def test_the_page_shows_the_newest_failures_and_links_their_executions(
    viewer: Client, operator: Client, acme: World
) -> None:
    for key in ("a", "b"):
        operator_rows.dead(acme, key, traceback="Traceback: <line 1>")
    operator_rows.dead(acme, "other", code="Other")
    again(acme, "a")
    found = group_of("a")
    assert "Traceback: &lt;line 1&gt;" not in viewer.get(page(found)).text
    answer = operator.get(page(found))
    assert "Traceback: &lt;line 1&gt;" in answer.text
    assert [letter.execution.execution_key for letter, _ in answer.context["letters"]] == ["b", "a"]
    assert answer.context["open_of_total"] == "1 of 2"
    assert len(listed(viewer, "executions_deadletter", {"group": found.pk})) == 2
    address = f"{to('executions_execution_changelist')}?group={found.pk}"
    for query, keys in (("", {"a", "b"}), ("&amp;status=failed", {"b"})):
        assert f'href="{address}{query}"' in answer.text
        assert {row.execution_key for row in at(viewer, f"{address}{query}")} == keys


def test_the_list_of_what_is_still_failed_counts_executions_once(viewer: Client, acme: World) -> None:
    """The rows are those that the overview counts: no smoke test, and no failure that was run again."""
    operator_rows.dead(acme, "a", "b")
    again(acme, "a")
    smoke_tests.start(acme.release, actor="user:eva", input={"n": 1}, idempotency_key="k")
    for claim in making.claimed(acme.tenant):
        operator_rows.record(acme, making.failure(claim))
    assert DeadLetter.objects.count() == 4
    found = listed(viewer, "executions_deadletter", {"since": "day", "now": "open"})
    assert sorted(row.execution.execution_key for row in found) == ["a", "b"]

"""The pages of failure groups: the list, the decision, the failures, and what can be done."""

from typing import Any
from urllib.parse import parse_qsl

from django.test import Client

from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution, FailureGroup
from executions.smoke_tests import smoke_tests
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import at, listed, to, words
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
    assert "Failures that have the same cause are listed here" in viewer.get(to(LIST)).text
    operator_rows.dead(acme, "a", "b", "c", code="Lost", message="order 1 is lost")
    operator_rows.dead(acme, "d", code="Full")
    answer = viewer.get(to(LIST))
    assert sorted(row.error_code for row in answer.context["cl"].result_list) == ["Full", "Lost"]
    for text in ("2 groups", "3 of 3", "1.0 (active)", "Validate (step 1)", "3 in the last hour"):
        assert text in answer.text


@cases(
    ("query", "expected"),
    [
        *(("state=new", ["Full"]), ("state=acknowledged", ["Lost"]), ("state=mine", ["Lost"])),
        *(("error=Full", ["Full"]), ("pipeline=acme.orders", ["Full", "Lost"]), ("release=9", [])),
        ("since=hour", ["Full", "Lost"]),
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
    assert "Not acknowledged." in operator.get(page(found)).text
    for wrong in ({"assignee": "viewer"}, {"note": "x" * 1001}):
        answer = operator.post(decide(found), {"acknowledged": "yes", **wrong}, follow=True)
        assert "Nothing changed." in answer.text
        assert FailureGroup.objects.get().is_new
    for fields in ({"acknowledged": "yes"}, {"assignee": "operator"}, {"note": "<b>the bank</b>"}):
        assert operator.post(decide(found), fields).headers["Location"] == page(found)
    found = FailureGroup.objects.get()
    assert (found.is_new, found.acknowledged_by) == (False, "user:operator")
    assert (found.assignee, found.note) == ("operator", "<b>the bank</b>")
    text = operator.get(page(found)).text
    assert "user:operator acknowledged it" in text
    assert "&lt;b&gt;the bank&lt;/b&gt;" in text
    assert "<b>the bank" not in text
    operator.post(decide(found), {"acknowledged": "no"})
    assert FailureGroup.objects.get().is_new
    text = viewer.get(page(found)).text
    assert text.count("These roles may: operator, on-call, tenant admin.") >= 3
    assert f'<form method="post" action="{decide(found)}' not in text


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
    assert f'href="{address}&amp;status=failed"' in viewer.get(to(LIST)).text


def test_the_acts_of_a_group_on_the_active_release(operator: Client, acme: World) -> None:
    operator_rows.dead(acme, "a")
    found = group_of("a")
    offered = {each["label"]: each["address"] for each in operator.get(page(found)).context["acts"]}
    assert offered.keys() == {"Re-drive", "Resubmit", "Roll back"}
    filters = operator.get(offered["Re-drive"]).context["filtering"]
    assert filters["failure_group"].value() == str(found.pk)
    assert operator.get(offered["Resubmit"]).context["filtering"]["kind"].value() == "resubmit"


def test_a_group_on_a_revoked_release_offers_the_active_one(operator: Client, acme: World, newer: Release) -> None:
    operator_rows.dead(acme, "a")
    activate(newer, actor="user:test")
    revoke(acme.release, actor="user:ann", reason="it loses orders")
    answer: Any = operator.get(page(group_of("a")))
    assert answer.context["acts"][0]["label"] == "Resubmit on 2.0"
    assert "Release 1.0 is revoked. Release 2.0 is active." in answer.text
    address, _, query = answer.context["acts"][1]["address"].partition("?")
    draft = words(operator.post(address, dict(parse_qsl(query)), follow=True))
    assert "1 of them is pinned to the revoked release acme.orders 1.0." in draft
    assert "Resubmit on 2.0 instead" in draft


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

"""The pages of failure groups, and what other pages say about the failed step and the release."""

from typing import Any
from urllib.parse import parse_qsl

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution, FailureGroup
from executions.smoke_tests import smoke_tests
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases

LIST = "admin:executions_failuregroup_changelist"
MOST_QUERIES = 25


def group(world: World, **members: Any) -> FailureGroup:
    operator_rows.dead(world, *members.pop("keys", ("dead",)), **members)
    return FailureGroup.objects.order_by("-first_seen_at", "-last_seen_at").latest("first_seen_at")


def page(world: World) -> str:
    return reverse("admin:executions_failuregroup_change", args=[FailureGroup.objects.get(tenant=world.tenant).pk])


def decide(world: World) -> str:
    return reverse("admin:executions_failuregroup_decide", args=[FailureGroup.objects.get(tenant=world.tenant).pk])


def shown(answer: Any) -> list[str]:
    return [row.error_code for row in answer.context["cl"].result_list]


def test_the_list_shows_each_group_once_with_its_numbers(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "a", "b", "c", code="Lost", message="order 1 is lost")
    operator_rows.dead(acme, "d", code="Full")
    client = log_in("viewer")
    answer = client.get(reverse(LIST))
    assert sorted(shown(answer)) == ["Full", "Lost"]
    assert "2 groups" in answer.text
    assert "3 of 3" in answer.text
    assert "1.0 (active)" in answer.text
    assert "Validate (step 1)" in answer.text
    assert "Failures by hour: 3 in the last hour, at most 3 in an hour" in answer.text


def test_the_empty_list_says_what_it_will_show(log_in: LogIn) -> None:
    assert "Failures that have the same cause are listed here" in log_in("viewer").get(reverse(LIST)).text


@cases(
    ("query", "expected"),
    [
        ({"state": "new"}, ["Full"]),
        ({"state": "acknowledged"}, ["Lost"]),
        ({"state": "mine"}, ["Lost"]),
        ({"error": "Full"}, ["Full"]),
        ({"pipeline": "acme.orders"}, ["Full", "Lost"]),
        ({"release": "9"}, []),
        ({"since": "hour"}, ["Full", "Lost"]),
    ],
)
def test_the_filters(log_in: LogIn, acme: World, query: dict[str, str], expected: list[str]) -> None:
    operator_rows.dead(acme, "a", code="Lost")
    client = log_in("operator")
    client.post(decide(acme), {"acknowledged": "yes", "assignee": "operator"})
    operator_rows.dead(acme, "b", code="Full")
    assert sorted(shown(client.get(reverse(LIST), query))) == expected


def test_a_group_is_acknowledged_assigned_and_annotated(log_in: LogIn, acme: World) -> None:
    group(acme)
    client = log_in("operator")
    assert "Not acknowledged." in client.get(page(acme)).text
    for fields in ({"acknowledged": "yes"}, {"assignee": "operator"}, {"note": "<b>the bank</b>"}):
        assert client.post(decide(acme), fields).headers["Location"] == page(acme)
    found = FailureGroup.objects.get()
    assert (found.is_new, found.acknowledged_by) == (False, "user:operator")
    assert (found.assignee, found.note) == ("operator", "<b>the bank</b>")
    text = client.get(page(acme)).text
    assert "user:operator acknowledged it" in text
    assert "&lt;b&gt;the bank&lt;/b&gt;" in text
    assert "<b>the bank" not in text
    client.post(decide(acme), {"acknowledged": "no"})
    assert FailureGroup.objects.get().is_new


@cases("fields", [{"assignee": "viewer"}, {"note": "x" * 1001}])
def test_what_is_refused_changes_nothing_and_says_so(log_in: LogIn, acme: World, fields: dict[str, str]) -> None:
    group(acme)
    answer = log_in("operator").post(decide(acme), {"acknowledged": "yes", **fields}, follow=True)
    assert "Nothing changed." in answer.text
    assert FailureGroup.objects.get().is_new


def test_a_role_that_may_not_act_sees_disabled_buttons_that_say_why(log_in: LogIn, acme: World) -> None:
    group(acme)
    text = log_in("viewer").get(page(acme)).text
    assert text.count("Your role may not do this. These roles may: operator, on-call, tenant admin.") >= 3
    assert '<form method="post" action="' + decide(acme) not in text


def test_the_page_shows_the_newest_failures_and_their_traceback(log_in: LogIn, acme: World) -> None:
    for key in ("a", "b"):
        group(acme, keys=(key,), traceback="Traceback: <line 1>")
    redrive(acme.tenant, Execution.objects.get(execution_key="a").pk, actor="user:eva", reason="")
    assert "Traceback: &lt;line 1&gt;" not in log_in("viewer").get(page(acme)).text
    answer = log_in("operator").get(page(acme))
    assert "Traceback: &lt;line 1&gt;" in answer.text
    assert [letter.execution.execution_key for letter, _ in answer.context["letters"]] == ["b", "a"]
    assert answer.context["open_of_total"] == "1 of 2"
    listed = log_in("viewer").get(
        reverse("admin:executions_deadletter_changelist"), {"group": answer.context["group"].pk}
    )
    assert len(listed.context["cl"].result_list) == 2


def test_the_executions_of_a_group_are_listed(log_in: LogIn, acme: World) -> None:
    group(acme, keys=("a", "b"))
    operator_rows.dead(acme, "other", code="Other")
    redrive(acme.tenant, Execution.objects.get(execution_key="a").pk, actor="user:eva", reason="")
    found = FailureGroup.objects.get(error_code=DeadLetter.objects.get(execution__execution_key="a").error_code)
    client = log_in("viewer")
    text = client.get(reverse("admin:executions_failuregroup_change", args=[found.pk])).text
    address = f"{reverse('admin:executions_execution_changelist')}?group={found.pk}"
    for query, keys in (("", {"a", "b"}), ("&amp;status=failed", {"b"})):
        assert f'href="{address}{query}"' in text
        listed = client.get(f"{address}{query}".replace("&amp;", "&"))
        assert {row.execution_key for row in listed.context["cl"].result_list} == keys
        assert f'name="group" value="{found.pk}"' in listed.text
    assert f'href="{address}&amp;status=failed"' in client.get(reverse(LIST)).text


def test_the_acts_of_a_group_on_the_active_release(log_in: LogIn, acme: World) -> None:
    found = group(acme)
    offered = {each["label"]: each["address"] for each in log_in("operator").get(page(acme)).context["acts"]}
    assert offered.keys() == {"Re-drive", "Resubmit", "Roll back"}
    filters = log_in("operator").get(offered["Re-drive"]).context["filtering"]
    assert filters["failure_group"].value() == str(found.pk)
    assert log_in("operator").get(offered["Resubmit"]).context["filtering"]["kind"].value() == "resubmit"


def test_a_group_on_a_revoked_release_offers_the_active_one(log_in: LogIn, acme: World) -> None:
    group(acme)
    activate(making.registered(acme.tenant, "1.1", pipeline_id="acme.orders"), actor="user:test")
    revoke(acme.release, actor="user:ann", reason="it loses orders")
    answer = log_in("operator").get(page(acme))
    assert answer.context["acts"][0]["label"] == "Resubmit on 1.1"
    assert "Release 1.0 is revoked. Release 1.1 is active." in answer.text
    address = answer.context["acts"][1]["address"]
    draft = log_in("operator").post(address.split("?")[0], dict(parse_qsl(address.split("?")[1])), follow=True)
    assert "1 of them is pinned to the revoked release acme.orders 1.0." in draft.text
    assert "Resubmit on 1.1 instead" in draft.text


def test_the_redrive_page_says_where_it_starts_and_offers_the_active_release(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "dead")
    execution = Execution.objects.get(execution_key="dead")
    address = reverse("admin:executions_execution_redrive", args=[execution.pk])
    text = log_in("operator").get(address).text
    assert "It starts at the first step: Validate (step 1)." in text
    assert "data-notice" not in text
    activate(making.registered(acme.tenant, "1.1", pipeline_id="acme.orders"), actor="user:test")
    text = log_in("operator").get(address).text
    assert "Release 1.1 is active now. A re-drive runs 1.0 again and may fail again." in text
    assert "Resubmit on 1.1 instead" in text
    revoke(acme.release, actor="user:ann", reason="it loses orders")
    assert "user:ann revoked release 1.0: “it loses orders”" in log_in("operator").get(address).text


def test_the_list_of_what_is_still_failed_counts_executions_once(log_in: LogIn, acme: World) -> None:
    """The rows are those that the overview counts: no smoke test, and no failure that was run again."""
    operator_rows.dead(acme, "a", "b")
    redrive(acme.tenant, Execution.objects.get(execution_key="a").pk, actor="user:eva", reason="")
    smoke_tests.start(acme.release, actor="user:eva", input={"n": 1}, idempotency_key="k")
    for claim in making.claimed(acme.tenant):
        operator_rows.record(acme, making.failure(claim))
    assert DeadLetter.objects.count() == 4
    listed = log_in("viewer").get(reverse("admin:executions_deadletter_changelist"), {"since": "day", "now": "open"})
    assert sorted(row.execution.execution_key for row in listed.context["cl"].result_list) == ["a", "b"]


def test_the_pages_need_few_queries(log_in: LogIn, acme: World) -> None:
    for number in range(30):
        operator_rows.dead(acme, f"k{number}", code=f"Error{number}")
    client = log_in("operator")
    one = reverse("admin:executions_failuregroup_change", args=[FailureGroup.objects.all()[0].pk])
    letters = reverse("admin:executions_deadletter_changelist")
    letter = reverse("admin:executions_deadletter_change", args=[DeadLetter.objects.all()[0].pk])
    for address in (reverse(LIST), one, letters, letter):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]

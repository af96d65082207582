import re
from typing import Any

from django.test import Client

from executions.lifecycle.interventions import redrive
from executions.models import Execution, FailureGroup, Hold, Resubmission
from releases.models import Release
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, listed, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.executions.holds.test_holds import TARGETS, target


def newest_event(execution: Execution) -> tuple[str, str, Any]:
    event = execution.events.order_by("-sequence")[0]
    return event.kind, event.actor, event.data.get("reason")


def status_of(execution: Execution) -> str:
    execution.refresh_from_db()
    return execution.status


def test_a_request_from_a_stale_page_is_rejected_and_shows_the_current_state(operator: Client, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k")
    stale = made.version
    redrive(acme.tenant, made.pk, actor="user:ann", reason="")
    [claim] = [claim for claim in making.claimed(acme.tenant) if claim.execution_id == made.pk]
    operator_rows.record(acme, making.failure(claim, "ANOTHER"))
    refused = operator.post(to("executions_execution_redrive", made), {"reason": "typed", "expected_version": stale})
    assert refused.status_code == 409
    assert status_of(made) == "DLQ"
    version = f'name="expected_version" value="{made.version}"'
    for text in ("VERSION_MISMATCH", version, "typed</textarea>", "ANOTHER"):
        assert text in refused.text


def test_a_failed_execution_is_redriven_only_if_the_box_is_ticked(operator: Client, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k", retryable=False)
    address = to("executions_execution_redrive", made)
    assert 'name="allow_failed" required' in operator.get(address).text
    for bad in ({"reason": "x" * 1001}, {"expected_version": "x"}):
        assert operator.post(address, {"allow_failed": "on", **bad}).status_code == 400
    refused = operator.post(address, {"expected_version": made.version})
    assert (refused.status_code, "REDRIVE_REFUSED" in refused.text) == (409, True)
    assert status_of(made) == "FAILED"
    sent = {"reason": "the bank is back", "expected_version": made.version, "allow_failed": "on"}
    assert operator.post(address, sent).status_code == 302
    assert status_of(made) == "QUEUED"
    assert newest_event(made) == ("REDRIVEN", "user:operator", "the bank is back")


def test_a_live_execution_can_be_cancelled_but_not_redriven(operator: Client, acme: World) -> None:
    made, cancel = acme.execution, to("executions_execution_cancel", acme.execution)
    assert "data-refusal" in operator.get(to("executions_execution_redrive", made)).text
    assert cancel not in operator.post(cancel, {"reason": "a mistake"}, follow=True).text
    assert status_of(made) == "CANCELLED"
    assert newest_event(made) == ("CANCELLED", "user:operator", "a mistake")


@cases("kind", TARGETS)
def test_a_pause_is_made_shown_and_ended_on_the_pages(kind: str, log_in: LogIn, acme: World) -> None:
    client, held = log_in("tenant-admin"), target(kind, acme.execution)
    pause, resume = (to(f"executions_hold_{kind}_{act}", held) for act in ("pause", "resume"))
    page = to(f"{'executions' if kind == 'execution' else 'releases'}_{kind}_change", held)
    menu = f"{page}?tab=end" if kind == "release" else page
    assert pause in client.get(menu).text
    assert ("<dt>Queued executions</dt><dd>1</dd>" in client.get(pause).text) == (kind != "execution")
    assert [client.post(pause, {"reason": " "}).status_code, client.post(resume).status_code] == [400, 409]
    assert not Hold.objects.exists()
    made = client.post(pause, {"reason": MARKUP}, follow=True)
    assert made.redirect_chain == [(page, 302)]
    shown = client.get(menu).text
    assert [text in shown for text in (f'data-paused="{kind}"', resume, pause, MARKUP)] == [True, True, False, False]
    hold = Hold.objects.get()
    assert (hold.started_by, hold.reason) == ("user:tenant-admin-of-acme", MARKUP)
    assert not hold.refuses_submissions
    client.post(resume, {"reason": "repaired"})
    hold.refresh_from_db()
    assert (hold.ended_by, hold.end_reason) == ("user:tenant-admin-of-acme", "repaired")
    assert "data-paused" not in client.get(page).text
    client.post(f"{pause}?submissions=refuse", {"reason": "broken"})
    assert Hold.objects.get(ended_at=None).refuses_submissions is (kind != "execution")


def release(world: World, version: str = "1.1") -> Release:
    made = making.registered(world.tenant, version, pipeline_id=operator_rows.pipeline_of(world))
    reread = Release.objects.select_related("pipeline__tenant").get(pk=made.pk)
    making.worker(reread, f"worker-{version}")
    return reread


def test_an_execution_is_resubmitted_once_and_both_pages_link_each_other(operator: Client, acme: World) -> None:
    [dead] = operator_rows.dead(acme, "order-7", code="NO_FUNDS")
    making.replaced(release(acme))
    release(acme, "1.2")  # was never active
    address, page = to("executions_execution_resubmit", dead), to("executions_execution_change", dead)
    form = operator.get(address).text
    assert [text in form for text in ('"1.1">1.1</option>', "&quot;n&quot;: 1", '"1.2"')] == [True, True, False]
    fields = {"release": "1.1", "input": '{"n": 2}', "reason": "fixed", "operation_key": "k"}
    fields["expected_version"] = str(dead.version)
    answer = operator.post(address, fields, follow=True)
    new = Execution.objects.get(origin__execution=dead)
    assert operator.post(address, fields)["Location"] == to("executions_execution_change", new)
    assert answer.redirect_chain == [(to("executions_execution_change", new), 302)]
    assert [page in answer.text, "with another input" in answer.text] == [True, True]
    assert (new.input, new.release_version, new.submitted_by) == ({"n": 2}, "1.1", "user:operator")
    assert to("executions_execution_change", new) in operator.get(page).text
    assert Resubmission.objects.count() == 1
    assert "<dt>Business key</dt>" in answer.text
    assert set(listed(operator, "executions_execution", {"q": "order-7"})) == {dead, new}
    assert f'="{new.execution_key}">resubmission</span>' in operator.get(to("executions_execution_changelist")).text
    exported = operator.get(f"{to('executions_execution_export', 'csv')}?columns=key").getvalue()
    assert exported.count(b',"order-7"') == 2
    moved = f"data-replacement.*{to('executions_execution_change', new)}.* on release 1.1, which is due. A re"
    redrive_page = to("executions_execution_redrive", dead)
    for said in page, to("executions_deadletter_change", dead.dead_letters.get()), address, redrive_page:
        assert re.search(moved, operator.get(said).text, re.DOTALL), said
    again = {**fields, "operation_key": "other", "release": "", "input": ""}
    for act, sent in (address, again), (redrive_page, {"expected_version": 2}):
        refused = operator.post(act, sent)
        assert (refused.status_code, "EXECUTION_REPLACED" in refused.text) == (409, True)
        assert 'name="allow_replaced" required' in refused.text
        assert operator.post(act, {**sent, "allow_replaced": "on"}).status_code == 302
    assert (status_of(dead), Resubmission.objects.count()) == ("QUEUED", 2)


def test_a_group_is_acknowledged_assigned_and_annotated(viewer: Client, operator: Client, acme: World) -> None:
    operator_rows.dead(acme, "a")
    page, decide = (to(f"executions_failuregroup_{name}", FailureGroup.objects.get()) for name in ("change", "decide"))
    for wrong in ({"assignee": "viewer"}, {"note": "x" * 1001}):
        operator.post(decide, {"acknowledged": "yes", **wrong})
        assert FailureGroup.objects.get().is_new
    for fields in ({"acknowledged": "yes"}, {"assignee": "operator"}, {"note": "<b>the bank</b>"}):
        assert operator.post(decide, fields).headers["Location"] == page
    group = FailureGroup.objects.get()
    assert (group.is_new, group.acknowledged_by) == (False, "user:operator")
    assert (group.assignee, group.note) == ("operator", "<b>the bank</b>")
    assert "<b>the bank" not in operator.get(page).text
    operator.post(decide, {"acknowledged": "no"})
    assert FailureGroup.objects.get().is_new
    assert f'<form method="post" action="{decide}' not in viewer.get(page).text

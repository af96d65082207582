import json
from typing import Any

import pytest
from django.test import Client

from executions.children import asking
from executions.children.calls import children
from executions.explanation.explanation import explain
from executions.models import Execution, FailedItems, Resubmission, Schedule, WorkerEligibility, WorkerKeyChange
from executions.schedules import backfills, firing
from executions.state_machine import moves
from executions.workers.tenant_keys import active_keys, current_key
from governance.activation.activation import activate
from releases.models import Pipeline, Release
from releases.registration.api import ReleaseView
from tenancy.roles import Scope
from tests import making
from tests.admin.browsing import MARKUP, inert, listed, to, words
from tests.admin.conftest import LogIn, World
from tests.api.tenant_api import Caller
from tests.executions.awaits.parking import interaction_of
from tests.making import LONG_AGO, outcome_of, record
from tests.raw_sql import unchanged
from wire.documents.contract import DECLARATIONS_ENTRY
from wire.messages.step_reports import FailedItem
from wire.messages.step_reports import FailedItems as Reported


@pytest.fixture
def busy(acme: World) -> World:
    """A world whose worker runs one execution."""
    assert len(making.claimed(acme.tenant)) == 1
    owner = WorkerEligibility.objects.get(pk=acme.worker.pk).lease_owner  # as the heartbeat sets it
    Execution.objects.filter(pk=acme.execution.pk).update(lease_owner=owner, lease_worker=acme.worker.worker_id)
    return acme


def test_the_page_of_a_worker_shows_only_its_own_executions(viewer: Client, acme: World) -> None:
    making.worker(acme.release, "another")
    execution, others = acme.execution, making.execution(acme.tenant, "of-another", pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        name = acme.worker.worker_id if claim.execution_id == execution.pk else "another"
        held = [(claim.execution_id, claim.lease_token)]
        moves.renew_leases(acme.tenant.pk, held, worker_id=name, lease_seconds=30)
    text = viewer.get(to("executions_worker_change", acme.worker)).text
    assert str(execution.pk) in text
    assert str(others.pk) not in text


def test_a_drain_is_shown_with_actor_and_reason_until_it_ends(viewer: Client, operator: Client, busy: World) -> None:
    worker = busy.worker
    drain, undrain = (to(f"executions_worker_{act}", worker) for act in ("drain", "undrain"))
    page = to("executions_worker_change", worker)
    assert [drain in client.get(page).text for client in (viewer, operator)] == [False, True]
    assert "<dt>Transitions that it finishes</dt><dd>1</dd>" in operator.get(drain).text
    shown = operator.post(drain, {"reason": MARKUP}, follow=True)
    for text in ("DRAINING", "<strong>user:operator</strong> requested a drain", undrain):
        assert text in shown.text
    assert [drain in shown.text, MARKUP in shown.text] == [False, False]
    assert listed(viewer, "executions_worker")[0].eligibility.state == "DRAINING"
    assert "data-refusal" in operator.get(drain).text
    assert "HEALTHY" in operator.post(undrain, {"reason": "fixed"}, follow=True).text
    worker.refresh_from_db()
    assert worker.drained_by_operator_at is None
    assert [event.actor for event in worker.events.all()] == ["user:operator"] * 2


def key_page(world: World, change: str) -> str:
    return to("tenancy_tenant_worker_key", world.tenant, change)


def test_a_tenants_admin_rotates_its_key_which_one_response_shows(log_in: LogIn, acme: World) -> None:
    client, slug, tenant = log_in("tenant-admin"), acme.tenant.slug, to("tenancy_tenant_change", acme.tenant)
    assert client.post(key_page(acme, "revoke-old"), {"reason": ""}).status_code == 409
    old = current_key(slug)
    made = client.post(key_page(acme, "start"), {"reason": MARKUP})
    new, shown = current_key(slug), made.text
    assert (shown.count(new.text), "no-store" in made["Cache-Control"], old.text in shown) == (1, True, False)
    assert [key.key_id for key in active_keys(slug)] == [new.key_id, old.key_id]
    assert [new.key_id in shown, MARKUP in shown] == [True, False]
    for key in active_keys(slug):
        for address in (tenant, key_page(acme, "start"), key_page(acme, "replace")):
            assert key.text.partition(".")[2] not in client.get(address).text
    assert key_page(acme, "revoke-old") in client.get(tenant).text
    assert client.post(key_page(acme, "revoke-old"), {"reason": ""}).status_code == 302
    assert key_page(acme, "revoke-old") not in client.get(tenant).text
    assert [key.key_id for key in active_keys(slug)] == [new.key_id]
    replaced = client.post(key_page(acme, "replace"), {"reason": "leaked"})
    assert (current_key(slug) not in (old, new), current_key(slug).text in replaced.text) == (True, True)
    assert WorkerKeyChange.objects.filter(tenant=acme.tenant).count() == 3


CALL = {**making.STEP, "authoredName": "Pay", "kind": "await", "awaitTransport": "pipeline", "callsPipeline": "refunds"}


def test_a_parent_and_its_child_name_each_other(log_in: LogIn, acme: World) -> None:
    caller = making.ready(acme.tenant, version="8.0", pipeline_id="returns", steps=[{**CALL, "callsRelease": "7.0"}])
    making.ready(acme.tenant, version="7.0", pipeline_id="refunds")
    parent = making.execution(acme.tenant, "parent", pipeline_id="returns")
    [claim] = [claim for claim in making.claimed(acme.tenant) if claim.execution_id == parent.pk]
    making.record(making.suspension(claim, transport="pipeline"))
    client, api = log_in("viewer"), Caller(acme.tenant, Scope.READ)
    parent.refresh_from_db()
    assert "refunds 7.0 accepts an execution, at most until" in str(explain(parent, payloads=True).now[0])
    assert asking.call_next()
    [child] = children(parent)
    assert f"waits for execution {child.pk} of refunds, which is QUEUED" in str(explain(parent, payloads=True).now[0])
    assert f"Child executions Execution Status Release Called by {child.pk} QUEUED refunds 7.0" in words(
        client.get(to("executions_execution_change", parent))
    )
    assert f"Step 1 of {parent.pk} called it." in words(client.get(to("executions_execution_change", child)))
    assert "the result of the child execution answers it" in words(
        client.get(to("executions_interaction_change", interaction_of(parent)))
    )
    release = words(client.get(f"{to('releases_release_change', caller[1])}?tab=contents"))
    assert "calls refunds 7.0" in release
    [shown] = api.get(f"executions/{parent.pk}")["children"]
    assert (shown["executionId"], shown["stepIndex"], shown["itemIndex"]) == (str(child.pk), 0, None)
    assert api.get(f"executions/{child.pk}")["parentExecutionId"] == str(parent.pk)
    assert api.get(f"executions/{acme.execution.pk}")["children"] == []
    pages = [api.get(f"executions?parentExecutionId={execution.pk}")["items"] for execution in (parent, child)]
    assert [[row["executionId"] for row in rows] for rows in pages] == [[str(child.pk)], []]


COLLECTS = {"steps": {"Book": {"parallel": 4, "onItemFailure": "collect"}}}
PIPELINE = "acme.items"


def ended(acme: World) -> Execution:
    document = making.contract(PIPELINE, steps=making.steps("Read", "Book", "Pay"))
    data = making.archive(document, **{DECLARATIONS_ENTRY: json.dumps(COLLECTS)})
    release = making.verified(making.upload(acme.tenant, making.descriptor(document, data), data).release)
    making.worker(release, "items")
    activate(release, actor="user:test")
    execution = making.execution(acme.tenant, pipeline_id=PIPELINE)
    [claim] = [claim for claim in making.claimed(acme.tenant) if claim.execution_id == execution.pk]
    items = [FailedItem(index=n, error="Busy", message=MARKUP, tries=3, item=json.dumps({"n": MARKUP})) for n in (7, 9)]
    assert record(outcome_of(claim, failed_items=[Reported(step_index=1, failed=2, items=items)])) == 1
    return execution


def shown(client: Client, execution: Execution) -> str:
    page = client.get(to("executions_execution_change", execution) + "?tab=items")
    assert MARKUP not in page.content.decode()
    return words(page)


def test_failed_items_are_listed_for_those_who_read_payloads_and_run_again(log_in: LogIn, acme: World) -> None:
    execution = ended(acme)
    assert "2 items failed, and the execution continued. Run these items again" in shown(log_in("operator"), execution)
    assert "8 Busy" in shown(log_in("operator"), execution)
    assert "items failed, and" not in shown(log_in("viewer"), execution)
    assert "Failed items" not in words(log_in("operator").get(to("executions_execution_change", acme.execution)))
    address = to("executions_execution_resubmit", execution)
    form = log_in("operator").get(f"{address}?start_from=items").content.decode()
    assert '<option value="items" selected>with the 2 failed items, at Book' in form
    typed = {"start_from": "items", "operation_key": "k", "expected_version": execution.version + 2, "reason": "back"}
    with unchanged():
        log_in("viewer").post(address, typed)
    log_in("operator").post(address, {**typed, "expected_version": Execution.objects.get(pk=execution.pk).version})
    new = Execution.objects.get(origin=Resubmission.objects.get(execution=execution))
    assert (new.current_step_index, new.progress) == (1, [{"n": MARKUP}] * 2)
    assert "for the 2 items that failed at Book" in shown(log_in("operator"), new)
    assert FailedItems.objects.count() == 1


DECLARED: dict[str, dict[str, Any]] = {
    "Book": {"retries": 5, "timeoutSeconds": 30, "retryOn": [MARKUP]},
    "Pay": {"retries": 0, "jitter": False},
}


def declaring(acme: World, version: str, steps: dict[str, Any]) -> Release:
    document = making.contract("acme.orders", steps=making.steps("Read", "Book", "Pay"))
    data = making.archive(document, code=version, **{DECLARATIONS_ENTRY: json.dumps({"steps": steps})})
    return making.verified(making.upload(acme.tenant, making.descriptor(document, data, version), data).release)


def change(client: Client, pipeline: Pipeline, text: str) -> Any:
    address = to("releases_pipeline_policy", pipeline)
    return client.post(address, {"step_policies": text}, follow=True)


def test_pages_show_what_is_declared_and_what_counts(log_in: LogIn, acme: World) -> None:
    release, client = declaring(acme, "2.0", DECLARED), log_in("tenant-admin")
    saved = change(client, release.pipeline, '{"Book": {"retries": 8}, "Gone": {"retries": 1}}')
    changed = 'Policies of steps steps["Book"].retries = 8; steps["Gone"].retries = 1 (default: as declared)'
    assert changed in words(saved).replace("&quot;", '"')
    assert "differ from the defaults" in words(client.get(to("releases_pipeline_change", release.pipeline)))
    page = client.get(f"{to('releases_release_change', release)}?tab=contents")
    inert(page)
    shown = words(page)
    assert "8 retries, timeout 30 s, retries only" in shown
    assert "(declared: 5 retries)" in shown
    assert "no retries, no jitter" in shown
    assert "names steps that this release does not have: Gone" in shown
    assert "one to one, 8 retries, 30 s" in shown
    view = ReleaseView(Release.objects.get(pk=release.pk)).data
    assert view["declarations"] == {"steps": DECLARED}
    assert view["stepPolicies"][0] == {
        "step": "Book",
        "declared": DECLARED["Book"],
        "effective": {**DECLARED["Book"], "retries": 8},
    }


def test_the_page_of_an_execution_shows_the_policy_of_its_step(log_in: LogIn, acme: World) -> None:
    change(log_in("tenant-admin"), acme.release.pipeline, json.dumps({making.STEP["authoredName"]: {"retries": 1}}))
    page = log_in("viewer").get(to("executions_execution_change", acme.execution))
    assert "Policy of the step 1 retry (declared: nothing)" in words(page)


def test_a_comparison_has_a_difference_for_each_declared_value(log_in: LogIn, acme: World) -> None:
    before, after = declaring(acme, "2.0", DECLARED), declaring(acme, "3.0", {"Book": {"retries": 6}})
    address = to("releases_pipeline_compare", before.pipeline)
    page = words(log_in("viewer").get(address, {"from": "2.0", "to": after.release_version}))
    for path in ("retries", "timeoutSeconds", "retryOn"):
        assert f"steps[&quot;Book&quot;].{path}" in page
    assert "steps[&quot;Pay&quot;].jitter" in page


FIELDS = {
    **{"pipeline": "acme.orders", "name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"},
    **{"input": '{"n": 1}', "overlap": "skip", "catch_up_minutes": "60", "exceptions": "2026-12-24\n2026-12-26"},
}


def test_a_schedule_is_previewed_added_and_changed(operator: Client, acme: World) -> None:
    fields = {"tenant": acme.tenant.pk, **FIELDS}
    shown = operator.post(to("executions_schedule_new"), {**fields, "preview": "1"}).text
    assert ("At 02:30 every day" in shown, shown.count(", 02:30 CE")) == (True, 5)
    for changes, text in (({"cron": "0 25 * * *"}, "SCHEDULE_INVALID"), ({"input": "{"}, "INVALID_REQUEST")):
        assert text in operator.post(to("executions_schedule_new"), {**fields, **changes}).text
    assert not Schedule.objects.exists()
    operator.post(to("executions_schedule_new"), fields)
    schedule = Schedule.objects.get()
    assert (schedule.template, schedule.exceptions) == ({"n": 1}, ["2026-12-24", "2026-12-26"])
    edit = to("executions_schedule_edit", schedule)
    assert "2026-12-24" in operator.get(edit).text
    operator.post(edit, {**FIELDS, "exceptions": "", "name": "daily"})
    schedule.refresh_from_db()
    assert (schedule.name, schedule.exceptions, schedule.created_by) == ("daily", [], "user:operator")


def test_a_backfill_is_counted_first_and_its_executions_lead_to_the_schedule(operator: Client, acme: World) -> None:
    schedule = making.scheduled(acme.tenant, pipeline_id="acme.orders")
    form, day = to("executions_schedule_backfill", schedule), {"first": "2026-01-01 00:00", "end": "2026-01-02 00:00"}
    assert "The range has 1 time; 1 would be submitted" in operator.post(form, {**day, "preview": "1"}).text
    assert not schedule.fires.exists()
    operator.post(form, day)
    assert backfills.backfill(schedule, LONG_AGO, LONG_AGO.replace(day=2), actor="user:x").added == 0
    firing.fire()
    execution = Execution.objects.get(submitted_by="schedule:nightly")
    assert f"{execution.pk}" in operator.get(to("executions_schedule_change", schedule)).text
    page = operator.get(to("executions_execution_change", execution)).text
    assert to("executions_schedule_change", schedule) in page


def test_at_most_one_view_of_the_list_is_current(log_in: LogIn, acme: World) -> None:
    client, address = log_in("viewer"), to("executions_execution_changelist")
    assert client.get(address, {"status": "nonsense"}).text.count("ust be one of live") == 1
    for name, query in (("empty", ""), ("narrow", "columns=status"), ("searched", "status=live&q=x")):
        client.post(to("executions_execution_save_view"), {"name": name, "query": query})
    without_conditions = {"": ["All"], "columns=status": ["narrow"], "columns=pipeline": ["All"]}
    for query, current in {**without_conditions, "q=x&status=live": ["searched"], "q=x": []}.items():
        assert [tab.name for tab in client.get(f"{address}?{query}").context["tabs"] if tab.current] == current

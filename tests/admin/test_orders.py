"""Operators' requests: re-drives, cancellations, drains and campaigns."""

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.campaigns import campaigns
from executions.lifecycle import sweep
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution, Worker
from executions.state_machine import moves
from executions.workers import registry
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases

HOSTILE = "</dd><script>alert('x')</script>"


def of(name: str, row: Any) -> str:
    return reverse(f"admin:executions_{name}", args=[row.pk])


def newest_event(execution: Execution) -> tuple[str, str, Any]:
    event = execution.events.order_by("-sequence")[0]
    return event.kind, event.actor, event.data.get("reason")


# --- one execution --------------------------------------------------------------------------------


def test_a_dead_letter_page_shows_what_triage_needs_and_links_to_the_redrive(log_in: LogIn, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k", code="NO_FUNDS", message=HOSTILE)
    letter = operator_rows.letter(made)
    client = log_in("operator")
    shown = client.get(of("deadletter_change", letter)).text
    for text in ("NO_FUNDS", "&lt;script&gt;", letter.transition_key, "1.0", made.contract_version, "no retries left"):
        assert text in shown
    assert "<script>alert(" not in shown
    assert of("execution_redrive", made) in shown
    assert f"{of('execution_change', made)}?tab=events" in shown
    assert of("execution_redrive", made) not in log_in("viewer").get(of("deadletter_change", letter)).text
    confirmation = client.get(of("execution_redrive", made)).text
    assert f'name="expected_version" value="{made.version}"' in confirmation
    assert "acme.orders 1.0" in confirmation
    sent = {"reason": "the bank is back", "expected_version": made.version}
    page = client.post(of("execution_redrive", made), sent, follow=True).text
    assert "The execution was DLQ. It is queued on release 1.0." in page
    made.refresh_from_db()
    assert made.status == "QUEUED"
    assert newest_event(made) == ("REDRIVEN", "user:operator", "the bank is back")
    assert of("execution_redrive", made) not in client.get(of("deadletter_change", letter)).text


def test_a_request_from_a_stale_page_is_rejected_and_the_page_shows_the_current_state(
    log_in: LogIn, acme: World
) -> None:
    [made] = operator_rows.dead(acme, "k")
    stale = made.version
    redrive(acme.tenant, made.pk, actor="user:ann", reason="")
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == made.pk]
    operator_rows.record(acme, making.failure(claim, "ANOTHER"))
    refused = log_in("operator").post(
        of("execution_redrive", made), {"reason": "typed", "expected_version": stale}, follow=True
    )
    assert refused.status_code == 409
    assert "VERSION_MISMATCH" in refused.text
    made.refresh_from_db()
    assert made.status == "DLQ"
    assert f'name="expected_version" value="{made.version}"' in refused.text
    assert "typed</textarea>" in refused.text
    assert "ANOTHER" in refused.text


def test_a_failed_execution_is_redriven_only_if_the_box_is_ticked(log_in: LogIn, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k", retryable=False)
    client, address = log_in("operator"), of("execution_redrive", made)
    assert 'name="acknowledged" required' in client.get(address).text
    refused = client.post(address, {"expected_version": made.version})
    assert refused.status_code == 409
    assert "REDRIVE_REFUSED" in refused.text
    made.refresh_from_db()
    assert made.status == "FAILED"
    assert client.post(address, {"expected_version": made.version, "acknowledged": "on"}).status_code == 302
    made.refresh_from_db()
    assert made.status == "QUEUED"


def test_a_live_execution_can_be_cancelled_but_not_redriven(log_in: LogIn, acme: World) -> None:
    client, made = log_in("operator"), acme.execution
    shown = client.get(of("execution_change", made)).text
    assert of("execution_cancel", made) in shown
    assert of("execution_redrive", made) not in shown
    assert "data-refusal" in client.get(of("execution_redrive", made)).text
    page = client.post(of("execution_cancel", made), {"reason": "a mistake"}, follow=True).text
    assert "The execution is cancelled." in page
    assert of("execution_cancel", made) not in page
    made.refresh_from_db()
    assert made.status == "CANCELLED"
    assert newest_event(made) == ("CANCELLED", "user:operator", "a mistake")


REQUESTS: dict[str, Any] = {
    "redrive": lambda world: of("execution_redrive", operator_rows.dead(world, "k")[0]),
    "cancel": lambda world: of("execution_cancel", world.execution),
    "drain": lambda world: of("worker_drain", world.worker),
    "pause": lambda world: of("campaign_pause", _campaign(world)),
}


def _campaign(world: World) -> Campaign:
    operator_rows.dead(world, "k")
    return operator_rows.campaign(world)


def operated_rows() -> Any:
    """Return the columns that these requests change."""
    executions = list(Execution.objects.order_by("pk").values_list("pk", "status", "version"))
    return (
        executions,
        list(Worker.objects.values_list("drained_by_operator_at")),
        list(Campaign.objects.values("status")),
    )


@cases("name", REQUESTS)
def test_a_user_who_may_not_operate_changes_nothing_and_sees_no_button(
    name: str, log_in: LogIn, acme: World, globex: World
) -> None:
    address = REQUESTS[name](acme)
    before = operated_rows()
    for who, status in {"viewer": 403, "release-manager": 403, "stranger": 404, "nobody": 404}.items():
        assert log_in(who).post(address, {"reason": "why"}).status_code == status
    assert log_in("operator", enforce_csrf_checks=True).post(address, {"reason": "why"}).status_code == 403
    assert log_in("operator").get(address, {"reason": "why"}).status_code == 200
    assert operated_rows() == before
    page = address.replace(f"/{name}/", "/change/")
    assert address in log_in("operator").get(page).text
    assert address not in log_in("viewer").get(page).text


@cases("bad", [{"reason": "x" * 1001}, {"reason": "\0"}, {"expected_version": "x"}])
def test_an_invalid_form_is_shown_again(bad: dict[str, str], log_in: LogIn, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k")
    assert log_in("operator").post(of("execution_redrive", made), bad).status_code == 400
    made.refresh_from_db()
    assert made.status == "DLQ"


@cases(
    ("query", "found"),
    [
        ("since=hour", True),
        ("reason=retry_exhausted", True),
        ("reason=leases_lost", False),
        ("error=NO_FUNDS", True),
        ("error=NO", False),
        ("release=1.0&pipeline=acme.orders", True),
        ("release=2.0", False),
        ("now=DLQ", True),
        ("now=QUEUED", False),
    ],
)
def test_the_list_of_dead_letters_is_filtered(query: str, found: bool, log_in: LogIn, acme: World) -> None:
    [made] = operator_rows.dead(acme, "k", code="NO_FUNDS")
    shown = log_in("viewer").get(f"{reverse('admin:executions_deadletter_changelist')}?{query}")
    assert list(shown.context["cl"].result_list) == ([operator_rows.letter(made)] if found else [])
    assert '<option value="NO_FUNDS">' in shown.text


# --- workers --------------------------------------------------------------------------------------


def test_the_page_shows_a_drain_with_its_time_actor_and_reason_until_it_ends(log_in: LogIn, acme: World) -> None:
    client, worker = log_in("operator"), acme.worker
    assert "until it is undrained" in client.get(of("worker_drain", worker)).text
    page = client.post(of("worker_drain", worker), {"reason": HOSTILE}, follow=True).text
    worker.refresh_from_db()
    assert worker.drained_by_operator_at
    assert "<script>alert(" not in page
    assert "DRAINING" in page
    assert "<strong>user:operator</strong> requested a drain" in page
    assert page.count("&lt;script&gt;") == 2
    assert "OPERATOR_DRAINED" in page
    assert of("worker_undrain", worker) in page
    assert of("worker_drain", worker) not in page
    listed = client.get(reverse("admin:executions_worker_changelist"), {"state": "DRAINING"}).text
    assert "by an operator, " in listed
    assert "data-refusal" in client.get(of("worker_drain", worker)).text
    page = client.post(of("worker_undrain", worker), {"reason": "fixed"}, follow=True).text
    assert "may get work again" in page
    assert "HEALTHY" in page
    worker.refresh_from_db()
    assert worker.drained_by_operator_at is None
    assert [event.actor for event in worker.events.all()] == ["user:operator"] * 2


def test_the_page_of_a_worker_shows_its_started_executions(log_in: LogIn, acme: World) -> None:
    [claim] = making.claimed(acme.tenant)
    client, link = log_in("viewer"), of("execution_change", acme.execution)
    assert link not in client.get(of("worker_change", acme.worker)).text
    held = [(claim.execution_id, claim.lease_token)]
    moves.renew_leases(acme.tenant.pk, held, worker_id=acme.worker.worker_id, lease_seconds=30)
    assert "not started" in client.get(of("worker_change", acme.worker)).text
    moves.renew_leases(
        acme.tenant.pk,
        held,
        worker_id=acme.worker.worker_id,
        lease_seconds=30,
        running={claim.lease_token: 5},
    )
    page = client.get(of("worker_change", acme.worker)).text
    assert link in page
    assert "not started" not in page
    other = making.worker(acme.release, "another")
    assert link not in client.get(of("worker_change", other)).text


@cases(("abandoned", "phrase"), [(1, "threads still runs a transition"), (2, "threads still run transitions")])
def test_a_worker_page_shows_the_threads_that_run_abandoned_commands(
    log_in: LogIn, acme: World, abandoned: int, phrase: str
) -> None:
    client = log_in("viewer")
    page = client.get(of("worker_change", acme.worker)).text
    assert "data-abandoned" not in page
    assert "accepting work; 0 held, 0 running" in page
    Worker.objects.filter(pk=acme.worker.pk).update(capacity=4, holding=3, running=1, abandoned=abandoned)
    page = client.get(of("worker_change", acme.worker)).text
    assert f"{abandoned} of its 4 {phrase}" in page
    assert "accepting work; 3 held, 1 running" in page


def test_the_page_of_a_rest_worker_shows_its_endpoint_and_whether_it_is_allowed(
    log_in: LogIn, acme: World, settings: Any
) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal"]
    made = making.worker(acme.release, "rest-1", protocol="rest", endpoint="https://orders.internal/base")
    client = log_in("viewer")
    page = client.get(of("worker_change", made)).text
    assert "https://orders.internal/base" in page
    assert "data-not-called" not in page
    [claim] = making.claimed(acme.tenant)
    link = of("execution_change", acme.execution)
    assert link not in page
    Execution.objects.filter(pk=claim.execution_id).update(lease_owner=made.eligibility.lease_owner)
    assert link in client.get(of("worker_change", made)).text
    settings.REST_WORKER_ORIGINS = []
    assert sweep.endpoints() == 1
    assert "data-not-called" in client.get(of("worker_change", made)).text


# --- campaigns ------------------------------------------------------------------------------------

START = "admin:executions_campaign_start"


def test_a_campaign_is_previewed_and_then_started(log_in: LogIn, acme: World, globex: World) -> None:
    operator_rows.dead(acme, "k1", "k2", code="NO_FUNDS")
    client = log_in("operator")
    filters = {"tenant": "acme", "pipeline_id": "acme.orders", "error_code": "NO_FUNDS"}
    assert client.get(reverse(START), filters).status_code == 200
    assert not Campaign.objects.exists()
    previewed = client.post(reverse(START), filters, follow=True)
    assert previewed.context["found"].count == 2
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by) == ("DRAFT", "user:operator")
    refused = client.post(of("campaign_begin", draft), {"rate_per_minute": "0", "why": ""})
    assert refused.status_code == 400
    assert refused.context["found"].count == 2
    assert Campaign.objects.get().status == "DRAFT"
    started = client.post(of("campaign_begin", draft), {"rate_per_minute": "30", "why": HOSTILE}, follow=True)
    assert "The campaign has started. Executions: 2. Rate: 30 per minute." in started.text
    assert "<script>alert(" not in started.text
    made = Campaign.objects.get()
    assert (made.status, made.rate_per_minute, made.created_by, made.reason) == (
        "RUNNING",
        30,
        "user:operator",
        HOSTILE,
    )
    assert made.filters == {"pipelineId": "acme.orders", "errorCode": "NO_FUNDS"}


@cases(("ticked", "count"), [({}, 1), ({"allow_failed": "on"}, 2)])
def test_a_campaign_includes_failed_executions_only_if_the_box_is_ticked(
    ticked: dict[str, str], count: int, log_in: LogIn, acme: World
) -> None:
    operator_rows.dead(acme, "dead")
    operator_rows.dead(acme, "failed", retryable=False)
    sent = {"tenant": "acme", "pipeline_id": "acme.orders", **ticked}
    assert log_in("operator").post(reverse(START), sent).status_code == 302
    assert Campaign.objects.get().items.count() == count


@cases(
    ("query", "status", "message"),
    [
        ({"tenant": "acme"}, 422, "FILTER_REQUIRED"),
        ({"tenant": "globex", "pipeline_id": "globex.secrets"}, 400, "valid choice"),
        ({"tenant": "acme", "pipeline_id": "x", "finished_from": "soon"}, 400, "valid date"),
        ({"tenant": "acme", "pipeline_id": "\0"}, 400, "Null characters are not allowed"),
        ({"tenant": "acme", "pipeline_id": HOSTILE}, 409, "CAMPAIGN_EMPTY"),
        ({"tenant": "acme", "reason": "retry_exhausted", "kind": "cancel"}, 422, "CAMPAIGN_TARGET_INVALID"),
    ],
)
def test_invalid_filters_are_rejected(
    query: dict[str, str], status: int, message: str, log_in: LogIn, acme: World
) -> None:
    shown = log_in("operator").post(reverse(START), query)
    assert shown.status_code == status
    assert message in shown.text
    assert "<script>alert(" not in shown.text


def test_there_is_no_draft_if_nothing_matches(log_in: LogIn, acme: World) -> None:
    sent = {"tenant": "acme", "pipeline_id": "acme.orders"}
    refused = log_in("operator").post(reverse(START), sent)
    assert refused.status_code == 409
    assert "CAMPAIGN_EMPTY" in refused.text
    assert log_in("viewer").post(reverse(START), sent).status_code == 403
    assert log_in("operator").post(reverse(START), {**sent, "tenant": "globex"}).status_code == 400


def test_a_campaign_is_paused_resumed_and_cancelled_and_its_history_is_shown(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1", "k2")
    made = operator_rows.campaign(acme)
    client = log_in("operator")
    for name, status in {"pause": "PAUSED", "resume": "RUNNING", "cancel": "CANCELLED"}.items():
        assert of(f"campaign_{name}", made) in client.get(of("campaign_change", made)).text
        page = client.post(of(f"campaign_{name}", made), {"reason": f"to {name}"}, follow=True).text
        assert f"The campaign is {status}." in page
    assert 'data-status="CANCELLED"' in page
    assert page.count("CAMPAIGN_CANCELLED") == 2
    assert [event.actor for event in made.events.all()] == ["user:ann"] + ["user:operator"] * 3
    assert "to resume" in page
    refused = client.post(of("campaign_resume", made), {})
    assert refused.status_code == 409
    assert "CAMPAIGN_REFUSED" in refused.text


def test_the_page_of_a_campaign_updates_itself_until_all_its_executions_are_terminal(
    log_in: LogIn, acme: World
) -> None:
    [first] = operator_rows.dead(acme, "k1")
    made = operator_rows.campaign(acme, rate_per_minute=60)
    client = log_in("viewer")
    mark = client.get(of("campaign_change", made)).context["mark"]
    assert client.get(of("campaign_live", made), {"shown": mark}).status_code == 204
    Campaign.objects.update(rate_since="2020-01-01T00:00:00Z")
    assert campaigns.advance() == 1
    moved = client.get(of("campaign_live", made), {"shown": mark})
    assert moved.status_code == 200
    assert 'data-status="COMPLETED"' in moved.text
    assert "hx-get" in moved.text
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == first.pk]
    operator_rows.record(acme, making.outcome_of(claim))
    over = client.get(of("campaign_live", made))
    assert "SUCCEEDED" in over.text
    assert "hx-get" not in over.text
    assert not client.get(of("campaign_live", made), {"outcome": "SKIPPED"}).context["items"]
    assert client.get(of("campaign_live", made), {"page": "x"}).context["number"] == 1
    assert not client.get(of("campaign_live", made), {"page": "2"}).context["items"]


def test_the_number_of_queries_is_independent_of_dead_letters_campaigns_and_events(log_in: LogIn, acme: World) -> None:
    Worker.objects.update(capacity=100)
    client = log_in("operator")
    operator_rows.dead(acme, "first")
    one = operator_rows.campaign(acme)
    lists = [reverse(f"admin:executions_{name}_changelist") for name in ("deadletter", "campaign", "worker")]
    preview = f"{reverse(START)}?tenant=acme&pipeline_id=acme.orders"

    def query_counts(*addresses: str) -> list[int]:
        counts = []
        for address in addresses:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200
            counts.append(len(queries))
        return counts

    before = query_counts(*lists, preview, of("worker_change", acme.worker), of("campaign_change", one))
    operator_rows.dead(acme, *[f"more-{number}" for number in range(12)])
    made = [operator_rows.campaign(acme) for _ in range(8)]
    for change in (registry.drain, registry.undrain) * 4:
        change(acme.tenant, "acme.orders", acme.worker.worker_id, actor="user:ann", reason="why")
    assert query_counts(*lists, preview, of("worker_change", acme.worker), of("campaign_change", made[0])) == before

"""Operators' orders: re-drives, cancels, drains, and campaigns that are started and steered."""

from typing import Any

import pytest
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
from tests.admin import asking
from tests.admin.conftest import LogIn, World

HOSTILE = "</dd><script>alert('x')</script>"


def of(name: str, row: Any) -> str:
    return reverse(f"admin:executions_{name}", args=[row.pk])


def newest_event(execution: Execution) -> tuple[str, str, Any]:
    event = execution.events.order_by("-sequence")[0]
    return event.kind, event.actor, event.data.get("reason")


# --- one execution --------------------------------------------------------------------------------


def test_a_dead_letter_page_shows_what_triage_needs_and_links_to_the_redrive(log_in: LogIn, acme: World) -> None:
    [made] = asking.dead(acme, "k", code="NO_FUNDS", message=HOSTILE)
    letter = asking.letter(made)
    client = log_in("operator")
    shown = client.get(of("deadletter_change", letter)).text
    for text in ("NO_FUNDS", "&lt;script&gt;", letter.transition_key, "1.0", made.contract_version, "retry_exhausted"):
        assert text in shown
    assert "<script>alert(" not in shown
    assert of("execution_redrive", made) in shown
    assert f"{of('execution_change', made)}#events" in shown
    assert of("execution_redrive", made) not in log_in("viewer").get(of("deadletter_change", letter)).text
    asked = client.get(of("execution_redrive", made)).text
    assert f'name="expected_version" value="{made.version}"' in asked
    assert "acme.orders 1.0" in asked
    sent = {"reason": "the bank is back", "expected_version": made.version}
    page = client.post(of("execution_redrive", made), sent, follow=True).text
    assert "It was DLQ and is queued again, on release 1.0." in page
    made.refresh_from_db()
    assert made.status == "QUEUED"
    assert newest_event(made) == ("REDRIVEN", "user:operator", "the bank is back")
    assert of("execution_redrive", made) not in client.get(of("deadletter_change", letter)).text


def test_a_stale_page_is_refused_and_shows_how_things_are(log_in: LogIn, acme: World) -> None:
    [made] = asking.dead(acme, "k")
    stale = made.version
    redrive(acme.tenant, made.pk, actor="user:ann", reason="")
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == made.pk]
    asking.record(acme, making.failure(claim, "ANOTHER"))
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


def test_what_is_failed_is_redriven_only_with_an_explicit_tick(log_in: LogIn, acme: World) -> None:
    [made] = asking.dead(acme, "k", retryable=False)
    client, address = log_in("operator"), of("execution_redrive", made)
    assert 'name="ticked" required' in client.get(address).text
    refused = client.post(address, {"expected_version": made.version})
    assert refused.status_code == 409
    assert "REDRIVE_REFUSED" in refused.text
    made.refresh_from_db()
    assert made.status == "FAILED"
    assert client.post(address, {"expected_version": made.version, "ticked": "on"}).status_code == 302
    made.refresh_from_db()
    assert made.status == "QUEUED"


def test_what_is_live_is_cancelled_and_not_redriven(log_in: LogIn, acme: World) -> None:
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


ORDERS: dict[str, Any] = {
    "redrive": lambda world: of("execution_redrive", asking.dead(world, "k")[0]),
    "cancel": lambda world: of("execution_cancel", world.execution),
    "drain": lambda world: of("worker_drain", world.worker),
    "pause": lambda world: of("campaign_pause", _campaign(world)),
}


def _campaign(world: World) -> Campaign:
    asking.dead(world, "k")
    return asking.campaign(world)


def standing(world: World) -> Any:
    executions = list(Execution.objects.order_by("pk").values_list("pk", "status", "version"))
    return (
        executions,
        list(Worker.objects.values_list("drained_by_operator_at")),
        list(Campaign.objects.values("status")),
    )


@pytest.mark.parametrize("order", ORDERS)
def test_whoever_may_not_operate_changes_nothing_and_is_shown_no_button(
    order: str, log_in: LogIn, acme: World, globex: World
) -> None:
    address = ORDERS[order](acme)
    before = standing(acme)
    for who, status in {"viewer": 403, "release-manager": 403, "stranger": 404, "nobody": 404}.items():
        assert log_in(who).post(address, {"reason": "why"}).status_code == status
    assert log_in("operator", enforce_csrf_checks=True).post(address, {"reason": "why"}).status_code == 403
    assert log_in("operator").get(address, {"reason": "why"}).status_code == 200
    assert standing(acme) == before
    page = address.replace(f"/{order}/", "/change/")
    assert address in log_in("operator").get(page).text
    assert address not in log_in("viewer").get(page).text


@pytest.mark.parametrize("bad", [{"reason": "x" * 1001}, {"reason": "\0"}, {"expected_version": "x"}])
def test_a_form_that_breaks_its_rules_is_shown_again(bad: dict[str, str], log_in: LogIn, acme: World) -> None:
    [made] = asking.dead(acme, "k")
    assert log_in("operator").post(of("execution_redrive", made), bad).status_code == 400
    made.refresh_from_db()
    assert made.status == "DLQ"


@pytest.mark.parametrize(
    ("question", "found"),
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
def test_the_list_of_dead_letters_is_filtered(question: str, found: bool, log_in: LogIn, acme: World) -> None:
    [made] = asking.dead(acme, "k", code="NO_FUNDS")
    shown = log_in("viewer").get(f"{reverse('admin:executions_deadletter_changelist')}?{question}")
    assert list(shown.context["cl"].result_list) == ([asking.letter(made)] if found else [])
    assert '<option value="NO_FUNDS">' in shown.text


# --- workers --------------------------------------------------------------------------------------


def test_a_drain_is_shown_with_since_when_by_whom_and_why_until_it_is_taken_back(log_in: LogIn, acme: World) -> None:
    client, worker = log_in("operator"), acme.worker
    assert "until it is undrained" in client.get(of("worker_drain", worker)).text
    page = client.post(of("worker_drain", worker), {"reason": HOSTILE}, follow=True).text
    worker.refresh_from_db()
    assert worker.drained_by_operator_at
    assert "<script>alert(" not in page
    assert "DRAINING" in page
    assert "<strong>user:operator</strong> drained it" in page
    assert page.count("&lt;script&gt;") == 2
    assert "OPERATOR_DRAINED" in page
    assert of("worker_undrain", worker) in page
    assert of("worker_drain", worker) not in page
    listed = client.get(reverse("admin:executions_worker_changelist"), {"state": "DRAINING"}).text
    assert "by an operator since" in listed
    assert "data-refusal" in client.get(of("worker_drain", worker)).text
    page = client.post(of("worker_undrain", worker), {"reason": "mended"}, follow=True).text
    assert "may be given work again" in page
    assert "HEALTHY" in page
    worker.refresh_from_db()
    assert worker.drained_by_operator_at is None
    assert [event.actor for event in worker.events.all()] == ["user:operator"] * 2


def test_a_worker_shows_what_it_runs(log_in: LogIn, acme: World) -> None:
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


@pytest.mark.parametrize(
    ("abandoned", "phrase"), [(1, "threads still runs a transition"), (2, "threads still run transitions")]
)
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


def test_a_worker_that_is_called_over_http_shows_where_and_whether_it_may_be(
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


def test_a_campaign_is_looked_at_first_and_then_started(log_in: LogIn, acme: World, globex: World) -> None:
    asking.dead(acme, "k1", "k2", code="NO_FUNDS")
    client = log_in("operator")
    asked = {"tenant": "acme", "pipeline_id": "acme.orders", "error_code": "NO_FUNDS"}
    looked = client.get(reverse(START), asked)
    assert looked.context["found"].count == 2
    assert not Campaign.objects.exists()
    refused = client.post(reverse(START), {**asked, "rate_per_minute": "0", "why": ""})
    assert refused.status_code == 400
    assert refused.context["found"].count == 2
    assert not Campaign.objects.exists()
    started = client.post(reverse(START), {**asked, "rate_per_minute": "30", "why": HOSTILE}, follow=True)
    assert "The campaign has taken up 2, and re-drives 30 a minute." in started.text
    assert "<script>alert(" not in started.text
    made = Campaign.objects.get()
    assert (made.status, made.rate_per_minute, made.created_by, made.reason) == (
        "RUNNING",
        30,
        "user:operator",
        HOSTILE,
    )
    assert made.filters == {"pipelineId": "acme.orders", "errorCode": "NO_FUNDS"}


@pytest.mark.parametrize(("ticked", "taken"), [({}, 1), ({"allow_failed": "on"}, 2)])
def test_a_campaign_takes_up_what_is_failed_only_with_a_tick(
    ticked: dict[str, str], taken: int, log_in: LogIn, acme: World
) -> None:
    asking.dead(acme, "dead")
    asking.dead(acme, "failed", retryable=False)
    sent = {"tenant": "acme", "pipeline_id": "acme.orders", "rate_per_minute": "30", "why": "why", **ticked}
    assert log_in("operator").post(reverse(START), sent).status_code == 302
    assert Campaign.objects.get().items.count() == taken


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"tenant": "acme"}, 422, "FILTER_REQUIRED"),
        ({"tenant": "globex", "pipeline_id": "globex.secrets"}, 400, "valid choice"),
        ({"tenant": "acme", "pipeline_id": "x", "finished_from": "soon"}, 400, "valid date"),
        ({"tenant": "acme", "pipeline_id": "\0"}, 422, "FILTER_REQUIRED"),
        ({"tenant": "acme", "pipeline_id": HOSTILE}, 200, "there is nothing to start"),
    ],
)
def test_filters_that_break_the_rules_are_refused(
    query: dict[str, str], status: int, message: str, log_in: LogIn, acme: World
) -> None:
    shown = log_in("operator").get(reverse(START), query)
    assert shown.status_code == status
    assert message in shown.text
    assert "<script>alert(" not in shown.text


def test_nothing_found_by_the_time_of_the_start_starts_nothing(log_in: LogIn, acme: World) -> None:
    sent = {"tenant": "acme", "pipeline_id": "acme.orders", "rate_per_minute": "30", "why": "why"}
    refused = log_in("operator").post(reverse(START), sent)
    assert refused.status_code == 409
    assert "CAMPAIGN_EMPTY" in refused.text
    assert log_in("viewer").post(reverse(START), sent).status_code == 403
    assert log_in("operator").post(reverse(START), {**sent, "tenant": "globex"}).status_code == 400


def test_a_campaign_is_paused_resumed_and_cancelled_with_its_trail(log_in: LogIn, acme: World) -> None:
    asking.dead(acme, "k1", "k2")
    made = asking.campaign(acme)
    client = log_in("operator")
    for order, status in {"pause": "PAUSED", "resume": "RUNNING", "cancel": "CANCELLED"}.items():
        assert of(f"campaign_{order}", made) in client.get(of("campaign_change", made)).text
        page = client.post(of(f"campaign_{order}", made), {"reason": f"to {order}"}, follow=True).text
        assert f"The campaign is {status}." in page
    assert 'data-status="CANCELLED"' in page
    assert page.count("CAMPAIGN_CANCELLED") == 2
    assert [event.actor for event in made.events.all()] == ["user:ann"] + ["user:operator"] * 3
    assert "to resume" in page
    refused = client.post(of("campaign_resume", made), {})
    assert refused.status_code == 409
    assert "CAMPAIGN_REFUSED" in refused.text


def test_the_page_of_a_campaign_follows_only_while_something_moves(log_in: LogIn, acme: World) -> None:
    [first] = asking.dead(acme, "k1")
    made = asking.campaign(acme, rate_per_minute=60)
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
    asking.record(acme, making.answer(claim))
    over = client.get(of("campaign_live", made))
    assert "SUCCEEDED" in over.text
    assert "hx-get" not in over.text
    assert not client.get(of("campaign_live", made), {"outcome": "SKIPPED"}).context["items"]
    assert client.get(of("campaign_live", made), {"page": "x"}).context["number"] == 1
    assert not client.get(of("campaign_live", made), {"page": "2"}).context["items"]


def test_the_number_of_queries_does_not_grow_with_letters_campaigns_or_events(log_in: LogIn, acme: World) -> None:
    Worker.objects.update(capacity=100)
    client = log_in("operator")
    asking.dead(acme, "first")
    one = asking.campaign(acme)
    lists = [reverse(f"admin:executions_{name}_changelist") for name in ("deadletter", "campaign", "worker")]
    look = f"{reverse(START)}?tenant=acme&pipeline_id=acme.orders"

    def questions(*addresses: str) -> list[int]:
        counts = []
        for address in addresses:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200
            counts.append(len(queries))
        return counts

    before = questions(*lists, look, of("worker_change", acme.worker), of("campaign_change", one))
    asking.dead(acme, *[f"more-{number}" for number in range(12)])
    made = [asking.campaign(acme) for _ in range(8)]
    for order in (registry.drain, registry.undrain) * 4:
        order(acme.tenant, "acme.orders", acme.worker.worker_id, actor="user:ann", reason="why")
    assert questions(*lists, look, of("worker_change", acme.worker), of("campaign_change", made[0])) == before

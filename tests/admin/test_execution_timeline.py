"""The tabs of the page of an execution: its timeline from real rows, its events, its checkpoints and its error."""

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.admin.execution_timeline import MOST_EVENTS
from executions.awaits import interactions
from executions.holds import holds
from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.models import Execution, ExecutionEvent
from executions.state_machine.moves import Claim
from releases.activation.revocation import revoke
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded
from wire.messages.celery_messages import Checkpoint, OutcomeGroup

MOST_QUERIES = 25
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def page(of: Execution, tab: str = "") -> str:
    address = reverse("admin:executions_execution_change", args=[of.pk])
    return f"{address}?tab={tab}" if tab else address


def failed(world: World, *, code: str = "NO_FUNDS", message: str = "why", traceback: str = "Traceback") -> Execution:
    [claim] = [each for each in making.claimed(world.tenant) if each.execution_id == world.execution.pk]
    reported = making.failure(claim, code, retryable=False, message=message, traceback=traceback)
    outcome.record(world.release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))
    world.execution.refresh_from_db()
    return world.execution


def kinds(client: Any, of: Execution) -> list[tuple[str, str]]:
    return [(each["kind"], each["step"]) for each in client.get(page(of)).context["timeline"]["listed"]]


def test_the_timeline_shows_attempts_waits_and_pauses_from_the_rows(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    assert kinds(client, acme.execution) == [("queued", "1. Validate")]
    holds.pause(acme.execution, actor="user:ann", reason="because")
    assert ("paused", "1. Validate") in kinds(client, acme.execution)
    holds.resume(acme.execution, actor="user:ann", reason="over")
    failed(acme)
    shown = client.get(page(acme.execution))
    assert [row["progress"] for row in shown.context["timeline"]["rows"]] == ["failed"]
    assert {"queued", "failed"} <= {each["kind"] for each in shown.context["timeline"]["listed"]}
    assert "dc-tl-failed" in shown.text
    redrive(acme.tenant, acme.execution.pk, actor="user:ann", reason="", allow_failed=True)
    assert kinds(client, acme.execution).count(("queued", "1. Validate")) == 2


def test_the_timeline_names_those_who_answered(log_in: LogIn, acme: World) -> None:
    question = operator_rows.question(acme)
    interactions.complete(acme.tenant, interaction_id=question.pk, response={"n": 1}, actor="user:eva")
    listed = log_in("viewer").get(page(question.execution)).context["timeline"]["listed"]
    [answered] = [each["note"] for each in listed if each["kind"] == "await"]
    assert answered == "1 of 1 answered by user:eva."


@cases("tab", ["timeline", "payloads", "error", "events", "progress", "unknown", ""])
def test_a_tab_is_a_link_and_needs_few_queries(tab: str, log_in: LogIn, acme: World) -> None:
    failed(acme)
    client = log_in("operator")
    client.get(page(acme.execution, tab))
    with CaptureQueriesContext(connection) as queries:
        text = client.get(page(acme.execution, tab)).text
    assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]
    for name in ("timeline", "payloads", "error", "events", "progress"):
        assert f'href="{page(acme.execution, name)}"' in text
    current = tab if tab not in {"unknown", ""} else "timeline"
    assert f'id="tab-{current}" href="{page(acme.execution, current)}" aria-current="page"' in text


@cases("tab", ["timeline", "payloads", "error", "events", "progress"])
def test_an_index_serves_each_query_of_a_tab(tab: str, log_in: LogIn, acme: World) -> None:
    failed(acme)
    client = log_in("operator")
    with CaptureQueriesContext(connection) as queries:
        client.get(page(acme.execution, tab))
    read = [query["sql"] for query in queries if "executions_" in query["sql"] and query["sql"].startswith("SELECT")]
    assert len(read) > 3
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in read:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on executions_" not in plan, f"{sql}\n{plan}"


def test_events_are_paged_and_the_newest_are_first(log_in: LogIn, acme: World) -> None:
    for number in range(60):
        holds.pause(acme.execution, actor="user:ann", reason=f"pause {number}")
        holds.resume(acme.execution, actor="user:ann", reason="over")
    client = log_in("viewer")
    first = client.get(page(acme.execution, "events"))
    assert [each["event"].sequence for each in first.context["events"]] == list(range(121, 21, -1))
    assert "Page 1 of 2, 121 events" in first.text
    second = client.get(page(acme.execution, "events") + "&page=2")
    assert [each["event"].sequence for each in second.context["events"]] == list(range(21, 0, -1))
    for odd in ("0", "x", "-1", "99999999999999999999"):
        assert client.get(page(acme.execution, "events") + f"&page={odd}").status_code == 200


def test_the_header_says_that_the_release_was_revoked_and_which_is_active(log_in: LogIn, acme: World) -> None:
    failed(acme)
    making.active(acme.tenant, "2.0", pipeline_id="acme.orders")
    revoke(acme.release, actor="user:ann", reason="it charges twice")
    text = log_in("operator").get(page(acme.execution)).text
    assert "user:ann revoked release 1.0" in text
    assert "it charges twice" in text
    assert "a resubmission runs on 2.0" in text


def test_acts_that_are_not_possible_are_disabled_with_the_reason(log_in: LogIn, acme: World) -> None:
    text = log_in("operator").get(page(acme.execution)).text
    assert "Only failed executions can be re-driven." in text
    assert "It must end before it can be resubmitted." in text
    for act in ("cancel", "redrive", "resubmit"):
        address = reverse(f"admin:executions_execution_{act}", args=[acme.execution.pk])
        assert (f'href="{address}"' in text) == (act == "cancel")
    viewer = log_in("viewer").get(page(acme.execution)).text
    assert reverse("admin:executions_execution_cancel", args=[acme.execution.pk]) not in viewer
    assert "Your role may not do this. These roles may: operator, on-call, tenant admin." in viewer
    failed(acme)
    ended = log_in("operator").get(page(acme.execution)).text
    assert "It has ended." in ended
    assert reverse("admin:executions_execution_redrive", args=[acme.execution.pk]) in ended


def test_texts_from_a_pipeline_are_inert_in_every_tab(log_in: LogIn, acme: World) -> None:
    made = making.execution(acme.tenant, f"key {HOSTILE}", {HOSTILE: [HOSTILE]}, pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        reported = making.failure(claim, HOSTILE, retryable=False, message=HOSTILE, traceback=HOSTILE)
        outcome.record(acme.release.identity, OutcomeGroup(worker_id="<b>w<b>", outcomes=[reported]))
    client = log_in("operator")
    for tab in ("timeline", "payloads", "error", "events", "progress"):
        text = client.get(page(made, tab)).text
        assert "<script>alert(1)" not in text, tab
        assert "<img src=x" not in text, tab
        assert "&lt;script&gt;alert(1)" in text, tab


def test_checkpoints_are_listed_with_the_step_that_follows(log_in: LogIn, acme: World) -> None:
    owner, release = making.checkpointing()
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    reached = checkpoint(claim)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", checkpoints=[reached], outcomes=[]))
    shown = log_in("superuser").get(page(made, "progress"))
    [line] = shown.context["checkpoints"]
    assert (line["next"], line["worker"]) == ("2. Validate", "w")
    assert "The next step is 2. Validate." in shown.text
    assert 'data-payload="checkpoint"' in shown.text


def checkpoint(claim: Claim) -> Checkpoint:
    return Checkpoint(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key="k",
        next_step_index=1,
        output_payloads=['{"n": 2}'],
        many=False,
    )


def test_the_live_part_keeps_its_tab(log_in: LogIn, acme: World) -> None:
    text = log_in("operator").get(page(acme.execution, "events")).text
    assert "&amp;tab=events&amp;page=1" in text
    live = reverse("admin:executions_execution_live", args=[acme.execution.pk])
    assert 'data-tab="events"' in log_in("operator").get(live, {"tab": "events", "shown": "x"}).text


def test_the_timeline_of_a_long_history_says_what_it_leaves_out(log_in: LogIn, acme: World) -> None:
    with unguarded(ExecutionEvent), unguarded(Execution):
        at = acme.execution.created_at
        rows = [
            ExecutionEvent(execution=acme.execution, sequence=n, kind="PAUSED", status="QUEUED", actor="a", at=at)
            for n in range(2, MOST_EVENTS + 11)
        ]
        ExecutionEvent.objects.bulk_create(rows)
        Execution.objects.filter(pk=acme.execution.pk).update(event_count=MOST_EVENTS + 10)
    text = log_in("viewer").get(page(acme.execution)).text
    assert "The first 10 events are not drawn." in text


def test_a_pause_of_the_pipeline_is_drawn_while_it_lasts(log_in: LogIn, acme: World) -> None:
    holds.pause(acme.release.pipeline, actor="user:ann", reason="because")
    listed = log_in("viewer").get(page(acme.execution)).context["timeline"]["listed"]
    assert [each["note"] for each in listed if each["kind"] == "paused"] == [
        "Its release or its pipeline was paused by user:ann."
    ]

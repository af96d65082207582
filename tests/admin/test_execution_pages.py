"""The operator's pages: executions, workers and the overview."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from executions.admin.documents import JSON_SHOWN, bounded_json
from executions.awaits import interactions
from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution, ExecutionEvent, Worker
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import Claim, Move, apply
from releases.activation.activation import activate
from tests import making
from tests.admin import asking
from tests.admin.conftest import LogIn, World
from tests.raw_sql import unguarded
from wire.messages.celery_messages import OutcomeGroup


def page(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])


def live(execution: Execution) -> str:
    return reverse("admin:executions_execution_live", args=[execution.pk])


def run(execution: Execution, target: State, **told: Any) -> None:
    """Let the execution be claimed and end, as its worker would have it."""
    [claim] = [each for each in making.claimed(execution.tenant) if each.execution_id == execution.pk]
    move = Move(
        execution.pk, target, "TESTED", "worker:w", {}, version=claim.version, lease_token=claim.lease_token, **told
    )
    assert apply([move]) == [move]


def test_the_pin_is_on_the_page_and_a_later_activation_does_not_move_it(log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    activate(newer, actor="user:test")
    text = log_in("viewer").get(page(acme.execution)).text
    assert "2.0 is active now. This execution stays on 1.0." in text
    assert acme.release.contract_version in text


def test_the_page_of_a_live_execution_follows_the_answers_that_come(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    asked = asking.question(acme, requests=["{}", "{}"], itemized=True, gives_many=True)
    mark = client.get(page(asked.execution)).context["mark"]
    assert client.get(live(asked.execution), {"shown": mark}).status_code == 204
    interactions.complete(acme.tenant, interaction_id=asked.pk, response={"n": 1}, actor="user:eva")
    assert client.get(live(asked.execution), {"shown": mark}).status_code == 200


def test_the_page_asks_again_only_while_the_execution_is_live(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    first = client.get(page(acme.execution))
    mark = first.context["mark"]
    assert f"{live(acme.execution)}?shown={mark}" in first.text
    assert client.get(live(acme.execution), {"shown": mark}).status_code == 204
    run(acme.execution, State.SUCCEEDED, result=[{"answer": 42}])
    moved = client.get(live(acme.execution), {"shown": mark})
    assert moved.status_code == 200
    assert "hx-get" not in moved.text
    assert "&quot;answer&quot;: 42" in moved.text


def renew(execution: Execution, claim: Claim, running: float | None = None, worker: str = "w") -> None:
    """What a heartbeat of the worker does that holds the claim."""
    held = [(claim.execution_id, claim.lease_token)]
    begun = {} if running is None else {claim.lease_token: running}
    moves.renew_leases(execution.tenant_id, held, worker_id=worker, lease_seconds=30, running=begun)


def test_what_no_worker_has_begun_is_not_shown_as_running(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")

    def shown() -> tuple[str, list[str]]:
        """The page's text, and the filters of the list that find the execution."""
        listed = reverse("admin:executions_execution_changelist")
        found = [
            status
            for status in ("QUEUED", "CLAIMED", "RUNNING")
            if page(acme.execution) in client.get(listed, {"status": status}).text
        ]
        return client.get(page(acme.execution)).text, found

    assert shown()[1] == ["QUEUED"]
    [claim] = making.claimed(acme.tenant)
    text, found = shown()
    assert "No worker has reported it yet." in text
    assert found == ["CLAIMED"]
    renew(acme.execution, claim)
    text, found = shown()
    assert "holds it but has not started it." in text
    assert found == ["CLAIMED"]
    renew(acme.execution, claim, running=5)
    text, found = shown()
    assert 'Running on worker <span class="dc-mono">w</span> since' in text
    assert found == ["RUNNING"]


def test_a_failure_shows_its_error(log_in: LogIn, acme: World) -> None:
    run(acme.execution, State.FAILED, error_code="NO_FUNDS", error_message="<b>not</b> enough")
    text = log_in("operator").get(page(acme.execution)).text
    assert "NO_FUNDS" in text
    assert "&lt;b&gt;not&lt;/b&gt; enough" in text


def test_a_traceback_is_shown_to_whoever_may_see_the_execution(log_in: LogIn, acme: World) -> None:
    """On its page, and on that of the dead letter, which keeps it when the execution was re-driven."""
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == acme.execution.pk]
    failed = making.failure(claim, "NO_FUNDS", retryable=False, traceback="Traceback: <b>File</b> orders.py")
    outcome.record(acme.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
    shown = "Traceback: &lt;b&gt;File&lt;/b&gt; orders.py"
    letter = reverse("admin:executions_deadletter_change", args=[acme.execution.dead_letters.get().pk])
    client = log_in("viewer")
    assert client.get(page(acme.execution)).text.count(shown) == 1
    redrive(acme.tenant, acme.execution.pk, actor="user:ann", reason="", allow_failed=True)
    assert "data-traceback" not in client.get(page(acme.execution)).text
    assert shown in client.get(letter).text


def test_the_page_of_a_dead_letter_shows_the_traceback_of_its_own_failure(log_in: LogIn, acme: World) -> None:
    for shown in ("the first failure", "the second failure"):
        [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == acme.execution.pk]
        failed = making.failure(claim, "NO_FUNDS", retryable=False, traceback=shown)
        outcome.record(acme.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
        earlier(acme.execution)
        if shown == "the first failure":
            redrive(acme.tenant, acme.execution.pk, actor="user:ann", reason="", allow_failed=True)
    first, second = acme.execution.dead_letters.order_by("pk")
    client = log_in("viewer")
    for letter, own, other in ((first, "first", "second"), (second, "second", "first")):
        text = client.get(reverse("admin:executions_deadletter_change", args=[letter.pk])).text
        assert f"the {own} failure" in text
        assert f"the {other} failure" not in text


def earlier(execution: Execution) -> None:
    """Have all that happened to it an hour ago: a test is one transaction, and so one moment."""
    hour = timedelta(hours=1)
    with unguarded(ExecutionEvent), unguarded(DeadLetter):
        execution.events.update(at=F("at") - hour)
        execution.dead_letters.update(created_at=F("created_at") - hour)


def test_the_page_of_a_worker_shows_what_it_runs_itself(log_in: LogIn, acme: World) -> None:
    making.worker(acme.release, "another")
    own, others = acme.execution, making.execution(acme.tenant, "of-another", pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        name = acme.worker.worker_id if claim.execution_id == own.pk else "another"
        renew(own if claim.execution_id == own.pk else others, claim, worker=name)
    text = log_in("viewer").get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text
    assert str(own.pk) in text
    assert str(others.pk) not in text


def test_an_execution_without_a_worker_says_that_it_waits_for_one_of_its_release(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    assert "data-stranded" not in client.get(page(acme.execution)).text
    Worker.objects.filter(pk=acme.worker.pk).update(stopped_at=timezone.now())
    assert "No worker may run its release: the worker stopped." in client.get(page(acme.execution)).text


def test_large_json_is_cut() -> None:
    shown = bounded_json({"text": "x" * 100_000})
    assert len(shown["text"]) == JSON_SHOWN
    assert shown["cut"]
    assert bounded_json([1]) == {"text": "[\n  1\n]", "length": 7, "cut": False}


def test_the_list_never_counts_the_whole_table(log_in: LogIn) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(reverse("admin:executions_execution_changelist")).status_code == 200
    asked = [query["sql"] for query in queries if "executions_execution" in query["sql"]]
    assert asked
    assert not [sql for sql in asked if "COUNT(" in sql]
    assert not [sql for sql in asked if '"input"' in sql or '"result"' in sql]


def test_the_list_of_workers_asks_a_fixed_number_of_questions(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    address = reverse("admin:executions_worker_changelist")

    def questions() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        return len(queries)

    before = questions()
    for number in range(10):
        making.worker(acme.release, f"more-{number}")
    assert questions() == before


@pytest.mark.parametrize(
    ("question", "found"), [("status=live", True), ("status=SUCCEEDED", False), ("pipeline=acme.orders", True)]
)
def test_the_list_is_filtered(question: str, found: bool, log_in: LogIn, acme: World) -> None:
    answer = log_in("viewer").get(f"{reverse('admin:executions_execution_changelist')}?{question}")
    assert list(answer.context["cl"].result_list) == ([acme.execution] if found else [])


WORKERS: dict[str, tuple[dict[str, Any], str]] = {
    "HEALTHY": ({}, "not reported"),
    "STALE": ({"alive_until": timezone.now() - timedelta(hours=1)}, "not reported"),
    "DRAINING": ({"draining_since": timezone.now()}, "not reported"),
    "UNAVAILABLE": ({"stopped_at": timezone.now()}, "not reported"),
    "another": ({"artifact_digest": "sha256:" + "0" * 64}, "another"),
    "no such release": ({"release_version": "none"}, "no such release"),
}


@pytest.mark.parametrize("kind", WORKERS)
def test_the_state_of_a_worker_and_its_artifact_are_told(kind: str, log_in: LogIn, acme: World) -> None:
    changes, artifact = WORKERS[kind]
    state = kind if kind.isupper() else "HEALTHY"
    Worker.objects.filter(pk=acme.worker.pk).update(**changes)
    text = log_in("viewer").get(reverse("admin:executions_worker_changelist")).text
    assert state in text
    assert artifact in text
    assert state in log_in("viewer").get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text


def test_the_overview_tells_what_lives_what_failed_and_what_is_stranded(log_in: LogIn, acme: World) -> None:
    failed = making.execution(acme.tenant, "second", pipeline_id="acme.orders")
    run(failed, State.DLQ, error_code="E", error_message="m")
    shown = log_in("viewer").get(reverse("admin:index"))
    [line] = shown.context["lines"]
    assert (line.live["RUNNING"], line.failed, line.workers) == (1, 1, 1)
    assert shown.context["stranded"] == []
    making.execution(acme.tenant, "third", pipeline_id="acme.orders")
    making.silence(acme.worker)
    shown = log_in("viewer").get(reverse("admin:index"))
    [stranded] = shown.context["stranded"]
    assert (stranded.release_version, stranded.count) == (acme.release.release_version, 1)
    assert "Stranded work" in shown.text
    assert "The worker sends no heartbeats" in shown.text


def test_the_overview_shows_ones_own_tenants_alone(log_in: LogIn) -> None:
    assert "acme" not in log_in("stranger").get(reverse("admin:index")).text
    assert "not a member of any tenant" in log_in("nobody").get(reverse("admin:index")).text
    everything = log_in("superuser").get(reverse("admin:index")).text
    assert "acme.orders" in everything
    assert "globex.secrets" in everything

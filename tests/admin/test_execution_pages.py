"""The operators' pages: executions, workers and the overview."""

import re
from datetime import timedelta
from typing import Any

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
from tests import making, signing
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded
from wire.messages.celery_messages import OutcomeGroup


def page(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])


def live(execution: Execution) -> str:
    return reverse("admin:executions_execution_live", args=[execution.pk])


def run(execution: Execution, target: State, **members: Any) -> None:
    """Claim the execution and move it to `target`. `members` are those of the move."""
    [claim] = [each for each in making.claimed(execution.tenant) if each.execution_id == execution.pk]
    move = Move(
        execution.pk, target, "TESTED", "worker:w", {}, version=claim.version, lease_token=claim.lease_token, **members
    )
    assert apply([move]) == [move]


def test_the_page_shows_the_pin_which_a_later_activation_does_not_change(log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    activate(newer, actor="user:test")
    text = log_in("viewer").get(page(acme.execution)).text
    assert "2.0 is active now. This execution stays on 1.0." in text
    assert acme.release.contract_version in text


def test_the_page_of_a_live_execution_is_updated_after_each_answer(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    question = operator_rows.question(acme, requests=["{}", "{}"], itemized=True, gives_many=True)
    mark = client.get(page(question.execution)).context["mark"]
    assert client.get(live(question.execution), {"shown": mark}).status_code == 204
    interactions.complete(acme.tenant, interaction_id=question.pk, response={"n": 1}, actor="user:eva")
    assert client.get(live(question.execution), {"shown": mark}).status_code == 200


def test_the_page_updates_itself_only_while_the_execution_is_live(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    first = client.get(page(acme.execution))
    mark = first.context["mark"]
    assert f"{live(acme.execution)}?shown={mark}" in first.text
    assert client.get(live(acme.execution), {"shown": mark}).status_code == 204
    run(acme.execution, State.SUCCEEDED, result=[{"answer": 42}])
    moved = client.get(live(acme.execution), {"shown": mark, "tab": "payloads"})
    assert moved.status_code == 200
    assert "hx-get" not in moved.text
    assert '&quot;answer&quot;</span>: <span class="dc-j-number">42' in moved.text


def provenance(execution: Execution, view: str = "provenance") -> str:
    return reverse(f"admin:executions_execution_{view}", args=[execution.pk])


def test_the_provenance_says_in_a_sentence_which_code_ran_each_part(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == acme.execution.pk]
    [artifact] = acme.release.artifacts.all()
    group = OutcomeGroup(
        worker_id="<b>w<b>",
        artifact_digest=artifact.digest,
        code="artifact",
        environment="<i>e</i>",
        outcomes=[making.outcome_of(claim, steps=[(0, 1, 2)])],
    )
    outcome.record(acme.release.identity, group)
    client = log_in("viewer")
    assert provenance(acme.execution) in client.get(page(acme.execution)).text
    text = client.get(provenance(acme.execution)).text
    says = (
        f"ran Validate with the code of artifact {artifact.digest}, which the release pins, and finished the execution."
    )
    assert says in text
    assert "Worker &lt;b&gt;w&lt;b&gt; ran" in text
    assert "&lt;i&gt;e&lt;/i&gt;" in text
    assert "data-unsigned" not in text
    document = client.get(provenance(acme.execution, "provenance_document"))
    assert document["Content-Type"] == "application/vnd.dsse.envelope.v1+json"
    assert document["Content-Disposition"].startswith("attachment;")


def test_without_a_key_the_provenance_is_shown_as_unsigned(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.PROVENANCE_KEY = ""
    client = log_in("viewer")
    text = client.get(provenance(acme.execution)).text
    assert "data-unsigned" in text
    assert "No worker has reported a part of this execution." in text
    assert provenance(acme.execution, "provenance_document") not in text
    assert client.get(provenance(acme.execution, "provenance_document")).status_code == 404


def test_the_provenance_of_another_tenant_is_not_found(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    client = log_in("stranger")
    for view in ("provenance", "provenance_document"):
        assert client.get(provenance(acme.execution, view)).status_code == 404


def renew(execution: Execution, claim: Claim, running: float | None = None, worker: str = "w") -> None:
    """Renew the lease as a heartbeat of the worker does. `running` is how long it runs the claim, in seconds."""
    held = [(claim.execution_id, claim.lease_token)]
    begun = {} if running is None else {claim.lease_token: running}
    moves.renew_leases(execution.tenant_id, held, worker_id=worker, lease_seconds=30, running=begun)


def test_a_claimed_execution_is_shown_as_running_only_once_a_worker_has_started_it(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")

    def shown() -> tuple[str, list[str]]:
        """Return the text of the page, and the status filters of the list that find the execution."""
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


def test_only_readers_of_payloads_see_the_traceback_of_a_failure(log_in: LogIn, acme: World) -> None:
    """The execution's page shows it until a re-drive; the page of the dead letter keeps it."""
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == acme.execution.pk]
    failed = making.failure(claim, "NO_FUNDS", retryable=False, traceback="Traceback: <b>File</b> orders.py")
    outcome.record(acme.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
    shown = "Traceback: &lt;b&gt;File&lt;/b&gt; orders.py"
    letter = reverse("admin:executions_deadletter_change", args=[acme.execution.dead_letters.get().pk])
    client, viewer, error = log_in("operator"), log_in("viewer"), f"{page(acme.execution)}?tab=error"
    assert client.get(error).text.count(shown) == 1
    assert shown not in viewer.get(error).text
    redrive(acme.tenant, acme.execution.pk, actor="user:ann", reason="", allow_failed=True)
    assert "data-traceback" not in client.get(error).text
    assert shown in client.get(letter).text
    assert shown not in viewer.get(letter).text


def test_the_page_of_a_dead_letter_shows_the_traceback_of_its_own_failure(log_in: LogIn, acme: World) -> None:
    for shown in ("the first failure", "the second failure"):
        [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == acme.execution.pk]
        failed = making.failure(claim, "NO_FUNDS", retryable=False, traceback=shown)
        outcome.record(acme.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
        earlier(acme.execution)
        if shown == "the first failure":
            redrive(acme.tenant, acme.execution.pk, actor="user:ann", reason="", allow_failed=True)
    first, second = acme.execution.dead_letters.order_by("pk")
    client = log_in("operator")
    for letter, own, other in ((first, "first", "second"), (second, "second", "first")):
        text = client.get(reverse("admin:executions_deadletter_change", args=[letter.pk])).text
        assert f"the {own} failure" in text
        assert f"the {other} failure" not in text


def earlier(execution: Execution) -> None:
    """Move its events and dead letters back by an hour. In a test, which is one transaction, all have the same time."""
    hour = timedelta(hours=1)
    with unguarded(ExecutionEvent), unguarded(DeadLetter):
        execution.events.update(at=F("at") - hour)
        execution.dead_letters.update(created_at=F("created_at") - hour)


def test_the_page_of_a_worker_shows_only_its_own_executions(log_in: LogIn, acme: World) -> None:
    making.worker(acme.release, "another")
    own, others = acme.execution, making.execution(acme.tenant, "of-another", pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        name = acme.worker.worker_id if claim.execution_id == own.pk else "another"
        renew(own if claim.execution_id == own.pk else others, claim, worker=name)
    text = log_in("viewer").get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text
    assert str(own.pk) in text
    assert str(others.pk) not in text


def test_the_page_of_a_stranded_execution_says_why_no_worker_may_run_it(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    assert "data-stranded" not in client.get(page(acme.execution)).text
    Worker.objects.filter(pk=acme.worker.pk).update(stopped_at=timezone.now())
    assert "No worker may run its release: the worker stopped." in client.get(page(acme.execution)).text


def test_large_json_is_truncated() -> None:
    shown = bounded_json({"text": "x" * 100_000})
    assert len(shown["text"]) == JSON_SHOWN
    assert shown["cut"]
    assert bounded_json([1]) == {"text": "[\n  1\n]", "length": 7, "cut": False}


def test_the_list_does_not_count_all_rows(log_in: LogIn) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(connection) as queries:
        assert client.get(reverse("admin:executions_execution_changelist")).status_code == 200
    statements = [query["sql"] for query in queries if "executions_execution" in query["sql"]]
    assert statements
    assert not [sql for sql in statements if "COUNT(" in sql and "LIMIT" not in sql]
    assert not [sql for sql in statements if '"input"' in sql or '"result"' in sql]


def test_the_number_of_queries_is_independent_of_the_number_of_workers(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    address = reverse("admin:executions_worker_changelist")

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        return len(queries)

    before = query_count()
    for number in range(10):
        making.worker(acme.release, f"more-{number}")
    assert query_count() == before


@cases(("query", "found"), [("status=live", True), ("status=SUCCEEDED", False), ("pipeline=acme.orders", True)])
def test_the_list_is_filtered(query: str, found: bool, log_in: LogIn, acme: World) -> None:
    response = log_in("viewer").get(f"{reverse('admin:executions_execution_changelist')}?{query}")
    assert list(response.context["cl"].result_list) == ([acme.execution] if found else [])


def tight(text: str) -> str:
    """Return HTML without spaces next to tags."""
    return re.sub(r"\s*([<>])\s*", r"\1", text)


WORKERS: dict[str, tuple[dict[str, Any], str]] = {
    "HEALTHY": ({}, ""),
    "STALE": ({"alive_until": timezone.now() - timedelta(hours=1)}, ""),
    "DRAINING": ({"draining_since": timezone.now(), "holding": 1}, ""),
    "DRAINED": ({"draining_since": timezone.now()}, ""),
    "UNAVAILABLE": ({"stopped_at": timezone.now()}, ""),
    "another": ({"artifact_digest": "sha256:" + "0" * 64}, "another"),
    "no such release": ({"release_version": "none"}, "no such release"),
}


@cases("kind", WORKERS)
def test_the_pages_of_workers_show_the_state_and_the_artifact(kind: str, log_in: LogIn, acme: World) -> None:
    changes, artifact = WORKERS[kind]
    state = kind if kind.isupper() else "HEALTHY"
    Worker.objects.filter(pk=acme.worker.pk).update(**changes)
    text = log_in("viewer").get(reverse("admin:executions_worker_changelist")).text
    assert state in text
    assert {label for label in ("as verified", "another", "no such release") if f">{label}<" in tight(text)} == (
        {artifact} if artifact else set()
    )
    assert state in log_in("viewer").get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text


CODE: dict[str, tuple[str, str, str]] = {
    "artifact": ("the release&#x27;s artifact", "as required", "differs"),
    "source": ("unverified: a folder", "not compared", "differs"),
    "image": ("container image", "not compared", "differs"),
    "": ("not reported", "not compared", "differs"),
}


@cases("differences", [[], ["b is <not> installed", "c is 1"]])
@cases("code", CODE)
def test_the_pages_of_workers_show_the_code_and_the_environment(
    code: str, differences: list[str], log_in: LogIn, acme: World
) -> None:
    environment = {"python": "cpython 3.12.1", "platform": "linux-x86_64", "differences": differences}
    Worker.objects.filter(pk=acme.worker.pk).update(
        code=code,
        environment_fingerprint="sha256:1234",
        environment={**environment, "differenceCount": len(differences)},
    )
    label, alike, differs = CODE[code]
    client = log_in("viewer")
    listed = client.get(reverse("admin:executions_worker_changelist")).text
    assert (f">{label}<" in tight(listed)) == bool(code)
    assert (differs if differences else alike) in listed
    text = client.get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text
    for shown in (label, "cpython 3.12.1", "linux-x86_64", "sha256:1234"):
        assert shown in text
    assert ("b is &lt;not&gt; installed" in text) == bool(differences)
    assert ("data-drift" in text) == bool(differences)
    assert ("data-as-required" in text) == (code == "artifact" and not differences)
    assert ("which the policy of the pipeline refuses" in text) == (code == "source")


def test_the_page_of_a_worker_without_an_environment_shows_none(log_in: LogIn, acme: World) -> None:
    text = log_in("viewer").get(reverse("admin:executions_worker_change", args=[acme.worker.pk])).text
    assert "data-environment" not in text


def test_the_overview_shows_live_failed_and_stranded_executions(log_in: LogIn, acme: World) -> None:
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


def test_the_overview_shows_only_the_tenants_of_the_user(log_in: LogIn) -> None:
    assert "acme" not in log_in("stranger").get(reverse("admin:index")).text
    assert "not a member of any tenant" in log_in("nobody").get(reverse("admin:index")).text
    everything = log_in("superuser").get(reverse("admin:index")).text
    assert "acme.orders" in everything
    assert "globex.secrets" in everything

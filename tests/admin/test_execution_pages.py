"""The page of an execution, which updates itself; the pages of workers and dead letters that show their executions."""

from datetime import timedelta

from django.db.models import F
from django.test import Client

from executions.awaits import interactions
from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution, ExecutionEvent
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.raw_sql import unguarded


def page(execution: Execution, tab: str = "") -> str:
    address = to("executions_execution_change", execution)
    return f"{address}?tab={tab}" if tab else address


def live(execution: Execution) -> str:
    return to("executions_execution_live", execution)


def claim_of(execution: Execution) -> Claim:
    [claim] = [each for each in making.claimed(execution.tenant) if each.execution_id == execution.pk]
    return claim


def failed(world: World, **members: str) -> None:
    """Let the execution of the world fail."""
    operator_rows.record(world, making.failure(claim_of(world.execution), retryable=False, **members))
    world.execution.refresh_from_db()


def again(world: World) -> None:
    redrive(world.tenant, world.execution.pk, actor="user:ann", reason="", allow_failed=True)


# --- the header, which updates itself ---


def test_the_page_updates_itself_only_while_the_execution_is_live(operator: Client, acme: World) -> None:
    first = operator.get(page(acme.execution, "events"))
    mark = first.context["mark"]
    assert f"{live(acme.execution)}?shown={mark}" in first.text
    assert operator.get(live(acme.execution), {"shown": mark}).status_code == 204
    operator_rows.record(acme, making.outcome_of(claim_of(acme.execution)))
    moved = operator.get(live(acme.execution), {"shown": mark, "tab": "payloads"})
    assert [moved.status_code, "hx-get" in moved.text] == [200, False]


def test_the_page_of_a_live_execution_is_updated_after_each_answer(operator: Client, acme: World) -> None:
    question = operator_rows.question(acme, requests=["{}", "{}"], itemized=True, gives_many=True)
    mark = operator.get(page(question.execution)).context["mark"]
    assert operator.get(live(question.execution), {"shown": mark}).status_code == 204
    interactions.complete(acme.tenant, interaction_id=question.pk, response={"n": 1}, actor="user:eva")
    assert operator.get(live(question.execution), {"shown": mark}).status_code == 200


def renew(execution: Execution, claim: Claim, running: float | None = None, worker: str = "w") -> None:
    """Renew the lease as a heartbeat of the worker does. `running` is how long it runs the claim, in seconds."""
    held = [(claim.execution_id, claim.lease_token)]
    begun = {} if running is None else {claim.lease_token: running}
    moves.renew_leases(execution.tenant_id, held, worker_id=worker, lease_seconds=30, running=begun)


def test_the_page_of_a_worker_shows_only_its_own_executions(viewer: Client, acme: World) -> None:
    making.worker(acme.release, "another")
    own, others = acme.execution, making.execution(acme.tenant, "of-another", pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        name = acme.worker.worker_id if claim.execution_id == own.pk else "another"
        renew(own if claim.execution_id == own.pk else others, claim, worker=name)
    text = viewer.get(to("executions_worker_change", acme.worker)).text
    assert str(own.pk) in text
    assert str(others.pk) not in text


# --- dead letters ---


def earlier(execution: Execution) -> None:
    """Move its events and dead letters back by an hour. In a test, which is one transaction, all have the same time."""
    hour = timedelta(hours=1)
    with unguarded(ExecutionEvent), unguarded(DeadLetter):
        execution.events.update(at=F("at") - hour)
        execution.dead_letters.update(created_at=F("created_at") - hour)


def test_the_page_of_a_dead_letter_shows_the_traceback_of_its_own_failure(operator: Client, acme: World) -> None:
    """The execution's page shows it until a re-drive."""
    for shown in ("the first failure", "the second failure"):
        failed(acme, traceback=shown)
        assert operator.get(page(acme.execution, "error")).text.count(shown) == 1
        earlier(acme.execution)
        again(acme)
        assert "data-traceback" not in operator.get(page(acme.execution, "error")).text
    first, second = acme.execution.dead_letters.order_by("pk")
    for letter, own, other in ((first, "first", "second"), (second, "second", "first")):
        text = operator.get(to("executions_deadletter_change", letter)).text
        assert f"the {own} failure" in text
        assert f"the {other} failure" not in text

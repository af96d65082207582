"""A control process that dies between two writes leaves no partial change, and a repeated call completes the work."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions.awaits import awaits, webhooks
from executions.campaigns import campaigns, drafts
from executions.campaigns.creating import Options
from executions.campaigns.filters import Filters
from executions.errors import AwaitTimedOut
from executions.lifecycle import dispatch, outcome, retention, sweep
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, DeadLetter, Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.transports.rest import workers
from executions.workers import registry, tenant_keys
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing, each_death
from tests.executions.awaits.parking import answer, interaction_of, make_late, suspended
from tests.making import LONG_AGO, PIPELINE
from tests.raw_sql import run
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup
from wire.messages.sealing import MOST_SEALS
from wire.messages.suspension import ImportedInteraction, ImportedSuspension
from wire.messages.task_messages import LONGEST_MESSAGE

pytestmark = pytest.mark.django_db
Act = Callable[[], object]
Ready = tuple[Tenant, Release]
OPERATOR: dict[str, Any] = {"actor": "user:op", "reason": "fixed"}
TWO: dict[str, Any] = {"requests": ["{}", "{}"], "itemized": True, "gives_many": True}


@pytest.fixture(scope="module")
def world(module_world: None) -> Ready:
    return making.checkpointing()


@pytest.fixture(autouse=True)
def limits_of_one(settings: Any) -> None:
    settings.TAKEOVER_LIMIT = settings.RETRY_LIMIT = 1


# --- outcomes ---


def claims(ready: Ready, count: int) -> list[Claim]:
    for number in range(count):
        making.execution(ready[0], f"k{number}")
    return making.claimed(ready[0])


def group_of_reports(ready: Ready) -> Act:
    """A success, two failures, a retry after a checkpoint, an await, and an outcome under a lost lease."""
    done, fatal, spent, again, waits, lost = claims(ready, 6)
    Execution.objects.filter(pk=spent.execution_id).update(attempt=1)
    late = making.outcome_of(lost, lease_token=uuid.uuid4())
    failures = [making.failure(fatal, retryable=False), making.failure(spent), making.failure(again)]
    outcomes = [making.outcome_of(done), *failures, late, making.suspension(waits)]
    return partial(making.record, *outcomes, checkpoints=[making.reached(again, 1, "1")])


def opened_await(ready: Ready, *statuses: Any) -> Act:
    [claim] = claims(ready, 1)
    opened = [
        ImportedInteraction(
            id=uuid.uuid4(), worker_name=None, correlation_id=f"c{place}", status=status, metadata={},
            deadline=datetime.now(UTC) + timedelta(hours=1), assignee=None, group=None, actor=None,
            response="2" if status == "COMPLETED" else None,
        )
        for place, status in enumerate(statuses)
    ]  # fmt: skip
    suspension = ImportedSuspension(
        unit_name="unit", step_index=0, step_id="Ask", itemized=True, gives_many=True, request_shape="MULTI",
        requests=["1"] * len(opened), output_type="Order", transport="interaction-api", timeout_seconds=60.0,
        interactions=opened,
    )  # fmt: skip
    reported = making.outcome_of(claim, "WAITING_EXTERNAL", suspension=suspension)
    group = OutcomeGroup(worker_id="w", outcomes=[reported])
    return partial(outcome.record, ready[1].identity, group, {claim.execution_id: suspension})


# --- leases and awaits ---


def leases_that_expire(ready: Ready) -> Act:
    """One execution loses its first lease, and one loses more than TAKEOVER_LIMIT."""
    _, often = claims(ready, 2)
    Execution.objects.update(lease_expires_at=LONG_AGO)
    Execution.objects.filter(pk=often.execution_id).update(takeovers=1)
    return sweep.expire_leases


def two_items(ready: Ready, *, answered: bool = False, late: bool = False) -> list[Interaction]:
    """Return the interactions of an execution that waits for two answers. The first is answered or late."""
    items = list(suspended(ready, **TWO).interactions.order_by("item_index"))
    if answered:
        answer(items[0])
    if late:
        make_late(items[0])
    return items


def late_answer(one: Interaction) -> None:
    with pytest.raises(AwaitTimedOut):
        answer(one)


def deadlines_and_timers(ready: Ready) -> Act:
    make_late(interaction_of(suspended(ready, "timer", transport="timer")))
    two_items(ready, late=True)
    return awaits.expire


# --- operators ---


def start_campaign(owner: Tenant, **more: Any) -> Campaign:
    return campaigns.start(owner, Filters(pipeline_id=PIPELINE), rate_per_minute=600, **OPERATOR, **more)


def running_campaign(ready: Ready, **more: Any) -> Campaign:
    """Start a campaign of three executions, with credit for all of them."""
    making.dead(ready[0], "a", "b", "c")
    campaign = start_campaign(ready[0], **more)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=5))
    return campaign


def campaign_that_ends(ready: Ready) -> Act:
    """The campaign re-drives two executions and skips one that an operator has re-driven."""
    running_campaign(ready)
    redrive(ready[0], Execution.objects.all()[0].pk, **OPERATOR)
    return campaigns.advance


def campaign_that_pauses_itself(ready: Ready) -> Act:
    """An execution of its canary has failed again."""
    running_campaign(ready, canary=1)
    campaigns.advance()
    making.record(making.failure(making.claimed(ready[0])[0], retryable=False))
    return campaigns.advance


def stopping(ready: Ready, kind: Campaign.Kind) -> Act:
    """A campaign stops a queued execution and one that waits for an answer."""
    suspended(ready, "asks")
    making.execution(ready[0], "queued")
    start_campaign(ready[0], kind=kind)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=5))
    return campaigns.advance


def draft(ready: Ready) -> Campaign:
    making.dead(ready[0], "a", "b")
    return drafts.freeze(ready[0], Campaign.Kind.REDRIVE, Execution.objects.all(), actor="user:op")


def removal_of_old_executions(ready: Ready) -> Act:
    made = two_items(ready)[0].execution
    making.aged(cancel(ready[0], made.pk, **OPERATOR), days=10)
    Tenant.objects.filter(pk=ready[0].pk).update(retention_days=1)
    return partial(retention.remove, seconds=60)


# --- workers ---


def heartbeat(ready: Ready, name: str, *held: HeldLease) -> Act:
    message = Heartbeat(worker_id=name, state="HEALTHY", capacity=1, running=list(held), taking=True, answered=True)
    sent_at = timezone.now() + timedelta(seconds=1)
    return partial(registry.take_heartbeat, ready[0], ready[1].identity, message, sent_at)


def worker_that_becomes_silent(_: Ready) -> Act:
    making.silence(*Worker.objects.all())
    return sweep.silent_workers


def heartbeat_of_a_silent_worker(ready: Ready) -> Act:
    [claim] = claims(ready, 1)
    worker_that_becomes_silent(ready)()
    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=1.0)
    return heartbeat(ready, "worker-1", lease)


def end_of_a_drain(ready: Ready) -> Act:
    registry.drain(ready[0], PIPELINE, "worker-1", actor="user:op")
    return partial(registry.undrain, ready[0], PIPELINE, "worker-1", actor="user:op")


def registration(ready: Ready) -> Act:
    where = {"protocol": "rest", "endpoint": "http://worker.example"}
    return partial(workers.register, ready[0], ready[1].identity, worker_id="r", actor="user:op", **where)


def rest_worker_that_registers_again(ready: Ready) -> Act:
    registration(ready)()
    worker_that_becomes_silent(ready)()
    return partial(workers.heartbeat, ready[0], PIPELINE, "r", actor="user:op")


def endpoint_that_is_blocked(ready: Ready) -> Act:
    registration(ready)()
    Worker.objects.filter(worker_id="r").update(blocked_reason="")
    return sweep.endpoints


OPTIONS = Options(reason="fixed", rate_per_minute=600)
ACTS: dict[str, Callable[[Ready], Act]] = {
    "group of reports": group_of_reports,
    "await that a worker opened": lambda ready: opened_await(ready, "DISPATCHED", "COMPLETED"),
    "await that was answered before its worker reported it": lambda ready: opened_await(ready, *["COMPLETED"] * 2),
    "leases that expire": leases_that_expire,
    "answer that is not the last": lambda ready: partial(answer, two_items(ready)[0]),
    "last answer": lambda ready: partial(answer, two_items(ready, answered=True)[1]),
    "answer that is late": lambda ready: partial(late_answer, two_items(ready, late=True)[0]),
    "deadlines and timers": deadlines_and_timers,
    "cancellation while waiting": lambda ready: partial(
        cancel, ready[0], two_items(ready, answered=True)[0].execution_id, **OPERATOR
    ),
    "cancellation of a run": lambda ready: partial(cancel, ready[0], claims(ready, 1)[0].execution_id, **OPERATOR),
    "re-drive": lambda ready: partial(redrive, ready[0], making.dead(ready[0], "k")[0].pk, **OPERATOR),
    "start of a campaign": lambda ready: partial(start_campaign, making.dead(ready[0], "a", "b")[0].tenant),
    "start of a draft": lambda ready: partial(drafts.start, ready[0], draft(ready).pk, OPTIONS, actor="user:op"),
    "removal of a draft": lambda ready: partial(drafts.discard, ready[0], draft(ready).pk, actor="user:op"),
    "campaign that ends": campaign_that_ends,
    "campaign that cancels": lambda ready: stopping(ready, Campaign.Kind.CANCEL),
    "campaign that pauses": lambda ready: stopping(ready, Campaign.Kind.PAUSE),
    "campaign that pauses itself": campaign_that_pauses_itself,
    "cancellation of a campaign": lambda ready: partial(
        campaigns.cancel, ready[0], running_campaign(ready).pk, actor="user:op"
    ),
    "pause of a campaign": lambda ready: partial(
        campaigns.pause, ready[0], running_campaign(ready).pk, actor="user:op"
    ),
    "removal of old executions": removal_of_old_executions,
    "first heartbeat": lambda ready: heartbeat(ready, "new"),
    "heartbeat of a silent worker": heartbeat_of_a_silent_worker,
    "worker that becomes silent": worker_that_becomes_silent,
    "drain": lambda ready: partial(registry.drain, ready[0], PIPELINE, "worker-1", actor="user:op"),
    "end of a drain": end_of_a_drain,
    "registration of a REST worker": registration,
    "REST worker that registers again": rest_worker_that_registers_again,
    "endpoint that is blocked": endpoint_that_is_blocked,
    "replacement of a key": lambda ready: partial(tenant_keys.replace_key, ready[0], actor="user:op"),
}


@cases("act", ACTS)
def test_a_process_that_dies_at_any_write_leaves_the_state_unchanged(owner: Tenant, release: Release, act: str) -> None:
    assert_all_or_nothing(ACTS[act]((owner, release)))


# --- processes that die while they send ---


def failed() -> list[Execution]:
    """Return the failed executions, after checking that these, and only these, have a dead letter each."""
    found = list(Execution.objects.filter(status__in=["FAILED", "DLQ"]))
    assert sorted(DeadLetter.objects.values_list("execution_id", flat=True)) == sorted(each.pk for each in found)
    return found


def test_a_command_that_is_too_large_fails_with_its_dead_letter(owner: Tenant, settings: Any) -> None:
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    made = making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})
    next(each_death(dispatch.dispatch, text="executions_deadletter"))
    assert failed() == []
    assert making.history(made)[-1] == ("CLAIMED", "RUNNING")


def test_an_undeliverable_webhook_fails_its_execution_with_a_dead_letter(
    owner: Tenant, release: Release, settings: Any
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    settings.WEBHOOK_ATTEMPTS = 100
    where = {"url": "http://127.0.0.1/hook"}
    made = suspended((owner, release), transport="webhook", transport_metadata=where, **TWO)
    first = made.interactions.get(item_index=0)

    def act() -> None:
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE id = %s AND status <> 'FAILED'", first.pk)
        webhooks.send()

    for statement in each_death(act):
        assert failed() == [], statement
        assert {each.status for each in made.interactions.all()} <= {"WAITING", "DISPATCHING"}
        assert made.await_units.get().status == "WAITING_EXTERNAL"
    assert failed() == [made]
    assert sorted(each.status for each in made.interactions.all()) == ["CANCELLED", "FAILED"]
    assert made.await_units.get().status == "FAILED"

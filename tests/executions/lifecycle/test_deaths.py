"""A control process that dies between two writes leaves no partial change, and a repeated call completes the work."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions.awaits import awaits
from executions.campaigns import campaigns, drafts
from executions.campaigns.creating import Options
from executions.campaigns.filters import Filters
from executions.errors import AwaitTimedOut
from executions.lifecycle import outcome, retention, sweep
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.transports.rest import workers
from executions.workers import registry, tenant_keys
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.executions.awaits.parking import answer, interaction_of, make_late, suspended
from tests.executions.hosting import LONG_AGO
from wire.messages.celery_messages import Checkpoint, Heartbeat, HeldLease, Outcome, OutcomeGroup
from wire.messages.suspension import ImportedInteraction, ImportedSuspension

pytestmark = pytest.mark.django_db
Act = Callable[[], object]


@pytest.fixture(autouse=True)
def limits_of_one(settings: Any) -> None:
    settings.TAKEOVER_LIMIT = settings.RETRY_LIMIT = 1


# --- outcomes -------------------------------------------------------------------------------------


def claims(count: int, **members: Any) -> tuple[Release, list[Claim]]:
    owner, release = making.ready(**members)
    for number in range(count):
        making.execution(owner, f"k{number}")
    return release, making.claimed(owner)


def recording(release: Release, outcomes: list[Outcome], checkpoints: list[Checkpoint] | None = None) -> Act:
    group = OutcomeGroup(worker_id="w", outcomes=outcomes, checkpoints=checkpoints or [])
    return lambda: outcome.record(release.identity, group)


def group_of_outcomes() -> Act:
    """A success, a non-retryable failure, a retryable failure, an await, and an outcome under a lost lease."""
    release, [done, fatal, again, waits, lost] = claims(5)
    late = making.outcome_of(lost, lease_token=uuid.uuid4())
    outcomes = [making.outcome_of(done), making.failure(fatal, retryable=False), making.failure(again), late]
    return recording(release, [*outcomes, making.suspension(waits)])


def exhausted_retries() -> Act:
    release, [claim] = claims(1)
    Pipeline.objects.filter(pk=release.pipeline_id).update(retry_limit=0)
    return recording(release, [making.failure(claim)])


def failure_after_a_checkpoint() -> Act:
    owner, release = making.checkpointing()
    making.execution(owner)
    [claim] = making.claimed(owner)
    reached = Checkpoint(
        execution_id=claim.execution_id, execution_version=claim.version, lease_token=claim.lease_token,
        transition_key="k", next_step_index=1, output_payloads=["1"],
    )  # fmt: skip
    return recording(release, [making.failure(claim)], [reached])


def opened_await(*statuses: Any) -> Act:
    release, [claim] = claims(1)
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
    return lambda: outcome.record(release.identity, group, {claim.execution_id: suspension})


def await_that_a_worker_opened() -> Act:
    """One of the two interactions was answered before the worker reported the await."""
    return opened_await("DISPATCHED", "COMPLETED")


def await_that_was_answered_before() -> Act:
    return opened_await("COMPLETED", "COMPLETED")


# --- leases and awaits ----------------------------------------------------------------------------


def leases_that_expire() -> Act:
    """One execution loses its first lease, and one loses more than TAKEOVER_LIMIT."""
    _, [once, often] = claims(2)
    Execution.objects.filter(pk=once.execution_id).update(lease_expires_at=LONG_AGO)
    Execution.objects.filter(pk=often.execution_id).update(lease_expires_at=LONG_AGO, takeovers=1)
    return sweep.expire_leases


def two_items() -> tuple[Execution, list[Interaction]]:
    made = suspended(making.ready(), requests=["{}", "{}"], itemized=True, gives_many=True)
    return made, list(made.interactions.order_by("item_index"))


def answer_that_is_not_the_last() -> Act:
    _, [one, _other] = two_items()
    return lambda: answer(one)


def last_answer() -> Act:
    _, [one, other] = two_items()
    answer(one)
    return lambda: answer(other)


def answer_that_is_late() -> Act:
    _, [one, _other] = two_items()
    make_late(one)

    def act() -> None:
        with pytest.raises(AwaitTimedOut):
            answer(one)

    return act


def deadlines_and_timers() -> Act:
    ready = making.ready()
    timer = suspended(ready, "timer", transport="timer")
    waiting = suspended(ready, "waiting", requests=["{}", "{}"], itemized=True, gives_many=True)
    make_late(interaction_of(timer), waiting.interactions.order_by("item_index")[0])
    return awaits.expire


# --- operators ------------------------------------------------------------------------------------


def cancellation_while_waiting() -> Act:
    made, [one, _] = two_items()
    answer(one)
    return lambda: cancel(made.tenant, made.pk, actor="user:op", reason="")


def cancellation_of_a_run() -> Act:
    owner, _ = making.ready()
    made = making.execution(owner)
    making.claimed(owner)
    return lambda: cancel(owner, made.pk, actor="user:op", reason="")


def redrive_of_an_execution() -> Act:
    owner, _ = making.ready()
    [made] = making.dead(owner, "k")
    return lambda: redrive(owner, made.pk, actor="user:op", reason="fixed")


def start_of_a_campaign() -> Act:
    owner, _ = making.ready()
    making.dead(owner, "a", "b")
    return lambda: start_campaign(owner)


def start_campaign(owner: Tenant) -> Campaign:
    filters = Filters(pipeline_id=making.PIPELINE)
    return campaigns.start(owner, filters, reason="fixed", rate_per_minute=600, actor="user:op", allow_failed=True)


def running_campaign() -> tuple[Campaign, list[Execution]]:
    """Start a campaign of three executions, with credit for all of them."""
    owner, _ = making.ready()
    dead = making.dead(owner, "a", "b", "c")
    campaign = start_campaign(owner)
    Campaign.objects.filter(pk=campaign.pk).update(rate_since=F("rate_since") - timedelta(seconds=5))
    return campaign, dead


def campaign_that_ends() -> Act:
    """The campaign re-drives two executions and skips one that an operator has re-driven."""
    campaign, dead = running_campaign()
    redrive(campaign.tenant, dead[0].pk, actor="user:op", reason="")
    return campaigns.advance


def draft_of_a_campaign() -> Campaign:
    owner, _ = making.ready()
    making.dead(owner, "a", "b")
    return drafts.freeze(owner, Campaign.Kind.REDRIVE, Execution.objects.all(), actor="user:op")


def start_of_a_draft() -> Act:
    draft = draft_of_a_campaign()
    options = Options(reason="fixed", rate_per_minute=600)
    return lambda: drafts.start(draft.tenant, draft.pk, options, actor="user:op")


def removal_of_a_draft() -> Act:
    draft = draft_of_a_campaign()
    return lambda: drafts.discard(draft.tenant, draft.pk, actor="user:op")


def stopping(kind: Campaign.Kind) -> Act:
    """A campaign stops a queued execution and one that waits for an answer."""
    ready = making.ready()
    suspended(ready, "asks")
    making.execution(ready[0], "queued")
    filters = Filters(pipeline_id=making.PIPELINE)
    campaigns.start(ready[0], filters, reason="x", rate_per_minute=600, actor="user:op", kind=kind)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=5))
    return campaigns.advance


def campaign_that_cancels() -> Act:
    return stopping(Campaign.Kind.CANCEL)


def campaign_that_pauses() -> Act:
    return stopping(Campaign.Kind.PAUSE)


def campaign_that_pauses_itself() -> Act:
    """An execution of its canary has failed again."""
    owner, _ = making.ready()
    making.dead(owner, "a", "b")
    filters = Filters(pipeline_id=making.PIPELINE)
    campaigns.start(owner, filters, reason="x", rate_per_minute=600, actor="user:op", canary=1)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=5))
    campaigns.advance()
    [claim] = making.claimed(owner)
    release = Execution.objects.get(pk=claim.execution_id).release
    failed = making.failure(claim, retryable=False)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
    return campaigns.advance


def cancellation_of_a_campaign() -> Act:
    campaign, _ = running_campaign()
    return lambda: campaigns.cancel(campaign.tenant, campaign.pk, actor="user:op")


def pause_of_a_campaign() -> Act:
    campaign, _ = running_campaign()
    return lambda: campaigns.pause(campaign.tenant, campaign.pk, actor="user:op")


def removal_of_old_executions() -> Act:
    made, _ = two_items()
    cancel(made.tenant, made.pk, actor="user:op", reason="")
    making.aged(made, days=10)
    Tenant.objects.filter(pk=made.tenant_id).update(retention_days=1)
    return lambda: retention.remove(seconds=60)


# --- workers --------------------------------------------------------------------------------------


def heartbeat(held: list[HeldLease], release: Release, name: str) -> Act:
    message = Heartbeat(worker_id=name, state="HEALTHY", capacity=1, running=held, taking=True, answered=True)
    tenant, identity = release.pipeline.tenant, release.identity
    return lambda: registry.take_heartbeat(tenant, identity, message, timezone.now() + timedelta(seconds=1))


def first_heartbeat() -> Act:
    return heartbeat([], making.ready()[1], "new")


def heartbeat_of_a_silent_worker() -> Act:
    release, [claim] = claims(1)
    making.silence(Worker.objects.get(tenant=release.pipeline.tenant))
    sweep.silent_workers()
    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=1.0)
    return heartbeat([lease], release, "worker-1")


def worker_that_becomes_silent() -> Act:
    owner, _ = making.ready()
    making.silence(Worker.objects.get(tenant=owner))
    return sweep.silent_workers


def drain_request() -> Act:
    owner, _ = making.ready()
    return lambda: registry.drain(owner, making.PIPELINE, "worker-1", actor="user:op")


def end_of_a_drain() -> Act:
    owner, _ = making.ready()
    registry.drain(owner, making.PIPELINE, "worker-1", actor="user:op")
    return lambda: registry.undrain(owner, making.PIPELINE, "worker-1", actor="user:op")


def registered(owner: Tenant, release: Release) -> Worker:
    where = {"protocol": "rest", "endpoint": "http://worker.example"}
    return workers.register(owner, release.identity, worker_id="r", actor="user:op", **where)


def registration_of_a_rest_worker() -> Act:
    ready = making.ready()
    return lambda: registered(*ready)


def rest_worker_that_registers_again() -> Act:
    worker = registered(*making.ready())
    making.silence(worker)
    sweep.silent_workers()
    return lambda: workers.heartbeat(worker.tenant, worker.pipeline_id, "r", actor="user:op")


def endpoint_that_is_blocked() -> Act:
    worker = registered(*making.ready())
    Worker.objects.filter(pk=worker.pk).update(blocked_reason="")
    return sweep.endpoints


def replacement_of_a_key() -> Act:
    owner = making.tenant()
    return lambda: tenant_keys.replace_key(owner, actor="user:op")


@cases(
    "prepare",
    [
        group_of_outcomes,
        exhausted_retries,
        failure_after_a_checkpoint,
        await_that_a_worker_opened,
        await_that_was_answered_before,
        leases_that_expire,
        answer_that_is_not_the_last,
        last_answer,
        answer_that_is_late,
        deadlines_and_timers,
        cancellation_while_waiting,
        cancellation_of_a_run,
        redrive_of_an_execution,
        start_of_a_campaign,
        start_of_a_draft,
        removal_of_a_draft,
        campaign_that_cancels,
        campaign_that_pauses,
        campaign_that_pauses_itself,
        campaign_that_ends,
        cancellation_of_a_campaign,
        pause_of_a_campaign,
        removal_of_old_executions,
        first_heartbeat,
        heartbeat_of_a_silent_worker,
        worker_that_becomes_silent,
        drain_request,
        end_of_a_drain,
        registration_of_a_rest_worker,
        rest_worker_that_registers_again,
        endpoint_that_is_blocked,
        replacement_of_a_key,
    ],
)
def test_a_process_that_dies_at_any_write_leaves_the_state_unchanged(prepare: Callable[[], Act]) -> None:
    assert_all_or_nothing(prepare())

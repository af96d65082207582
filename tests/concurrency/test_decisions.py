"""A call that waited for a lock decides on the committed state, not on what it read before."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions.awaits import awaits, claims, questions, reassignment
from executions.failures import queries
from executions.lifecycle import reports
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Campaign, Execution, FailureGroup, MessagePath, Worker
from executions.state_machine import moves
from executions.transports import rest_workers
from executions.workers import registry, tenant_keys
from governance.campaigns import campaigns, drafts
from governance.campaigns.campaigns import Options
from releases.models import Release
from tenancy import invitations, members
from tenancy.models import Invitation
from tenancy.roles import Role
from tests import making
from tests.cases import returning
from tests.concurrency import scenes
from tests.concurrency.sessions import Call, Decision, assert_decided, ended_after
from tests.executions.awaits.parking import answer, interaction_of, itemized, suspended
from tests.executions.awaits.test_recipients import person
from tests.raw_sql import run
from wire.messages.celery_messages import Checkpoint, Heartbeat, OutcomeGroup


@pytest.fixture(autouse=True)
def few_workers(settings: Any) -> None:
    settings.MAX_TENANT_WORKERS = 2


# --- worker keys ---


def a_third_key() -> Decision:
    start = partial(tenant_keys.start_key, making.tenant(), actor="user:x")
    return start, start, "WorkerKeyChangeRefused"


def a_key_that_is_revoked_twice() -> Decision:
    owner = making.tenant()
    tenant_keys.start_key(owner, actor="user:x")
    end = partial(tenant_keys.revoke_old_key, owner, actor="user:x")
    return end, end, "WorkerKeyChangeRefused"


def a_key_that_is_replaced_twice() -> Decision:
    owner = making.tenant()
    replace = partial(tenant_keys.replace_key, owner, actor="user:x")
    return replace, lambda: (replace(), len(tenant_keys.active_keys(owner.slug)))[1], 1


# --- executions ---


def cancelling(execution: Execution) -> Callable[[], Execution]:
    return partial(cancel, execution.tenant, execution.pk, actor="user:x", reason="")


def a_redrive_of_a_redriven_execution() -> Decision:
    owner, [failed] = scenes.dead(1)
    again = partial(redrive, owner, failed.pk, actor="user:x", reason="")
    return again, again, "ExecutionChanged"


def a_cancellation_of_a_claimed_execution() -> Decision:
    owner, _ = making.ready()
    execution = making.execution(owner)
    return partial(making.claimed, owner), lambda: cancelling(execution)().version, 2


def an_outcome_of_a_cancelled_execution() -> Decision:
    [claim] = scenes.running(making.ready()[0], 1)
    return cancelling(Execution.objects.get()), partial(making.record, making.outcome_of(claim)), 0


def a_renewal_for_a_cancelled_execution() -> Decision:
    owner, _ = making.ready()
    [claim] = scenes.running(owner, 1)
    held = [(claim.execution_id, claim.lease_token)]
    renew = partial(moves.renew_leases, owner.pk, held, worker_id="w", lease_seconds=60)
    return cancelling(Execution.objects.get()), renew, set()


def keeping(reached: Checkpoint) -> Callable[[], object]:
    group = OutcomeGroup(worker_id="w", checkpoints=[reached])
    return partial(reports.keep_checkpoints, [reached], group, {reached.execution_id: 0})


def a_checkpoint_of_a_cancelled_execution() -> Decision:
    [claim] = scenes.running(making.ready()[0], 1)
    return cancelling(Execution.objects.get()), keeping(scenes.checkpoint(claim)), {}


def an_older_checkpoint() -> Decision:
    [claim] = scenes.running(making.ready()[0], 1)
    older = scenes.checkpoint(claim)
    return keeping(older.model_copy(update={"next_step_index": 2})), keeping(older), {}


def a_campaign_with_a_redriven_execution() -> Decision:
    owner, [failed, _] = scenes.dead(2)
    again = partial(redrive, owner, failed.pk, actor="user:x", reason="")
    return again, lambda: scenes.start_campaign(owner).items.count(), 2


def a_campaign_that_redrives_a_redriven_execution() -> Decision:
    owner, [failed, *_] = scenes.dead()
    scenes.start_campaign(owner)
    Campaign.objects.update(rate_since=timezone.now() - timedelta(seconds=60))
    again = partial(redrive, owner, failed.pk, actor="user:x", reason="")
    return again, lambda: (campaigns.advance(), making.kinds(failed).count("REDRIVEN")), (2, 1)


def a_pause_of_a_cancelled_campaign() -> Decision:
    owner, _ = scenes.dead(1)
    made = scenes.start_campaign(owner)
    orders = [partial(order, owner, made.pk, actor="user:x") for order in (campaigns.cancel, campaigns.pause)]
    return orders[0], orders[1], "CampaignRefused"


def a_campaign_that_is_paused_twice() -> Decision:
    owner, _ = scenes.dead(1)
    pause = partial(campaigns.pause, owner, scenes.start_campaign(owner).pk, actor="user:x")
    return pause, lambda: (pause(), Campaign.objects.get().events.count())[1], 2


def drafted() -> tuple[Call, Call]:
    """Return the calls that start and discard one draft."""
    owner, _ = scenes.dead(2)
    draft = scenes.draft(owner)
    options = Options(reason="because", rate_per_minute=600)
    begin = partial(drafts.start, owner, draft.pk, options, actor="user:x")
    return begin, partial(drafts.discard, owner, draft.pk, actor="user:y")


def a_draft_that_is_started_twice() -> Decision:
    begin, _ = drafted()
    return begin, begin, "CampaignRefused"


def a_started_draft_that_is_discarded() -> Decision:
    begin, discard = drafted()
    return begin, discard, "CampaignRefused"


def a_discarded_draft_that_is_started() -> Decision:
    begin, discard = drafted()
    return discard, begin, "CampaignUnknown"


def a_campaign_that_pauses_itself_while_a_person_pauses_it() -> Decision:
    """The person finds it paused and writes no second event."""
    owner, _ = scenes.dead(2)
    made = scenes.start_campaign(owner, canary=1)
    Campaign.objects.update(rate_since=timezone.now() - timedelta(seconds=10))
    assert campaigns.advance() == 1
    scenes.fail(owner)
    pause = partial(campaigns.pause, owner, made.pk, actor="user:x")
    return campaigns.advance, lambda: (pause().cause, made.events.count()), ("canary", 2)


def an_acknowledgement_of_a_group_with_another_failure() -> Decision:
    """It has seen the failure, which was written before."""
    owner, _ = making.ready()
    making.dead(owner, "first")
    group = FailureGroup.objects.get()
    acknowledge = partial(queries.change, owner, group.pk, actor="user:eva", acknowledged=True)
    return partial(making.dead, owner, "second"), lambda: acknowledge().is_new, False


def a_schedule_too_many() -> Decision:
    owner, _ = making.ready()
    first, second = (partial(making.scheduled, owner, name, most=1) for name in ("nightly", "daily"))
    return first, second, "TooManySchedules"


# --- awaits ---


def a_second_answer() -> Decision:
    question = interaction_of(suspended(making.ready()))
    return partial(answer, question), lambda: answer(question, {"n": 3}).duplicate, True


def the_last_two_answers_of_an_await() -> Decision:
    made, items = itemized(making.ready(), 2)

    def answer_the_last() -> object:
        answer(items[1])
        return making.reread(made).status, made.progress

    return partial(answer, items[0]), answer_the_last, ("QUEUED", [{"n": 2}] * 2)


def a_claim_of_a_claimed_question() -> Decision:
    question = interaction_of(suspended(making.ready()))
    claim = partial(claims.claim, question.tenant, question.pk)
    return partial(claim, actor="user:eva"), partial(claim, actor="user:max"), "QuestionClaimed"


def an_answer_of_a_member_who_loses_the_group() -> Decision:
    """Either of the two waits for the other, whose row it locks."""
    owner, release = making.ready()
    question = interaction_of(suspended((owner, release), group="finance"))
    eva = person(owner, "eva", "finance")
    leave = partial(members.set_groups, owner, "eva", [], actor="user:x")
    respond = partial(questions.answer, owner, question_id=question.pk, response={"n": 2}, actor="user:eva", person=eva)
    return leave, respond, "RecipientRequired"


def a_delegation_among_recipients_that_are_replaced() -> Decision:
    owner, release = making.ready()
    question = interaction_of(suspended((owner, release), group="finance"))
    ana = person(owner, "ana", "finance", "legal")
    person(owner, "bob", "finance")
    reassign = partial(reassignment.reassign, owner, question.pk, actor="user:x", reason="moved", assignee=None)
    delegate = partial(claims.delegate, owner, question.pk, actor="user:ana", person=ana, to="bob")
    return partial(reassign, group="legal"), delegate, "DelegateUnknown"


def an_answer_to_a_cancelled_execution() -> Decision:
    made = suspended(making.ready())
    return cancelling(made), partial(answer, interaction_of(made)), "QuestionClosed"


def an_answer_after_the_deadline() -> Decision:
    """The deadline passes while the answer waits."""
    question = interaction_of(suspended(making.ready()))

    def pass_deadline() -> None:
        awaits.lock(question.execution_id, question.unit_id)
        run("UPDATE executions_interaction SET deadline = now() WHERE id = %s", question.pk)

    return pass_deadline, partial(answer, question), "AwaitTimedOut"


# --- invitations ---


def invitation_calls() -> tuple[Call, Call, Call]:
    """Return two acceptances by different people, and the withdrawal."""
    owner, token_hash = making.tenant(), invitations.hash_of("token")
    people = [User.objects.get_or_create(username=name)[0] for name in ("root", "ana", "bob")]
    members.add(owner, "root", Role.TENANT_ADMIN, actor="user:x")
    made = making.invitation(owner, people[0])
    Invitation.objects.update(token_hash=token_hash)
    ana, bob = (partial(invitations.accept, token_hash, user) for user in people[1:])
    return ana, bob, partial(invitations.withdraw, owner, made.pk, actor="user:x")


def an_invitation_that_two_accept() -> Decision:
    ana, bob, _ = invitation_calls()
    return ana, bob, "InvitationOver"


def an_invitation_that_was_withdrawn() -> Decision:
    ana, _, withdraw = invitation_calls()
    return withdraw, ana, "InvitationOver"


# --- workers ---


def heartbeat(release: Release, worker_id: str, *, capacity: int = 10, age: float = 0) -> Call:
    message = Heartbeat(worker_id=worker_id, state="HEALTHY", capacity=capacity)
    sent_at = timezone.now() - timedelta(seconds=age)
    return partial(registry.take_heartbeat, release.pipeline.tenant, release.identity, message, sent_at)


def one_worker_too_many() -> Decision:
    _, release = making.ready()
    return heartbeat(release, "second"), heartbeat(release, "third"), "WorkerLimitReached"


def an_older_heartbeat() -> Decision:
    _, release = making.ready()
    Worker.objects.update(last_sent_at=timezone.now() - timedelta(hours=1))
    older = heartbeat(release, "worker-1", capacity=1, age=60)
    return heartbeat(release, "worker-1"), lambda: (older(), Worker.objects.get().capacity)[1], 10


def a_rest_worker_with_the_id_of_a_starting_worker() -> Decision:
    call, _ = scenes.admission_of_a_rest_worker()
    release = scenes.fresh(Release.objects.get())
    return heartbeat(release, "worker-1"), call, "WorkerBeatsItself"


def a_rest_worker_with_the_id_of_a_worker_that_now_uses_the_broker() -> Decision:
    call, _ = scenes.admission_of_a_rest_worker()
    Worker.objects.update(protocol="rest", stopped_at=None)
    release = scenes.fresh(Release.objects.get())
    return heartbeat(release, "worker-1"), call, "WorkerBeatsItself"


def a_rest_worker_with_the_id_of_a_worker_that_has_just_started() -> Decision:
    release = scenes.fresh(making.active(making.tenant()))
    admit = partial(rest_workers.admit, release.pipeline.tenant, release.identity, worker_id="w", actor="user:x")
    return heartbeat(release, "w"), partial(admit, endpoint=scenes.NOWHERE), "WorkerBeatsItself"


def a_worker_that_is_heard_during_the_sweep() -> Decision:
    """The sweep reads the workers, and waits for the table of the message path before it locks them."""
    making.ready()
    worker = Worker.objects.get()
    making.silence(worker)

    def be_heard() -> None:
        run(f"LOCK TABLE {MessagePath._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        making.silence(worker, since=timezone.now())

    return be_heard, partial(registry.note_silent, actor="clock", limit=10), 0


@pytest.mark.parametrize("decision", returning(Decision, globals()))
def test_the_second_call_sees_what_the_first_has_committed(decision: Callable[[], Decision]) -> None:
    assert_decided(decision())


def test_one_interruption_is_credited_once() -> None:
    call, _ = scenes.end_of_an_interruption()
    alive = Worker.objects.order_by("pk").values_list("alive_until", flat=True)
    credited: list[object] = []
    ended_after(call, call, lambda: credited.extend(alive.all())).result()
    assert list(alive.all()) == credited

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from alerts import channels, rules
from alerts.models import Alert, AlertDelivery
from coordinator.models import Process
from coordinator.monitoring.process import Reporter
from executions.awaits import claims, questions
from executions.holds import holds
from executions.lifecycle import interventions, outcome
from executions.models import (
    AdmissionReceipt,
    Campaign,
    Execution,
    FailedItems,
    FinishedCount,
    Interaction,
    ItemGroup,
    MessagePath,
    Notification,
    OutcomePath,
    ScheduleFire,
    SearchValue,
    WireForm,
)
from executions.state_machine import moves
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.workers import registry, tenant_keys
from governance.activation.activation import activate
from governance.campaigns import campaigns, drafting
from governance.campaigns.selection import Filters, fitting
from governance.gradual import changes
from governance.gradual.changes import start
from governance.requests import requests
from governance.requests.requests import Decision, vote
from governance.retirement.retirement import Order, retire, revoke
from governance.smoke_tests import smoke_tests
from releases.artifacts import blobs
from releases.models import (
    ActivationRequest,
    ArtifactUpload,
    Blob,
    BlobLease,
    GradualActivation,
    Pipeline,
    Release,
)
from releases.trust import attachments, trust
from tenancy import access, preferences, quotas
from tenancy.login import Attempt
from tenancy.models import Allowance, Grant, Invitation, Membership, SavedView, Tenant
from tenancy.preferences import choose_zone
from tenancy.roles import Role, Scope
from tests import gradual, making, signing
from tests.interop.deploying import deployed
from tests.requesting import let_pass
from wire.messages.celery_messages import Outcome, OutcomeGroup, StepReport
from wire.messages.payload_envelopes import admission_key

ACTOR = "user:test"
GRADUAL_PIPELINE = "org.example.gradual"


def make() -> None:
    owner = making.tenant("owner")
    making.tenant("other")
    making.ready(making.tenant("rival"))
    making.active(owner, pipeline_id="org.example.other")
    user = User.objects.create_user("eva")
    Membership.objects.create(user=user, tenant=owner, role=Role.OPERATOR)
    User.objects.create_user("mia")
    choose_zone(user, "Europe/Berlin")
    access.issue_token(owner, user, "token", [Scope.READ], lifetime=None)
    Client().force_login(user)
    for state in Invitation.State:
        invited = making.invitation(owner, user, f"{state.lower()}@example.com")
        accepted = user if state == Invitation.State.ACCEPTED else None
        Invitation.objects.filter(pk=invited.pk).update(state=state, user=accepted)
    Attempt("eva", "192.0.2.1").count()
    preferences.save_view(user, SavedView.Page.EXECUTIONS, "own", "status=live", tenant=None)
    preferences.save_view(user, SavedView.Page.EXECUTIONS, "shared", "status=live", tenant=owner)
    MessagePath.objects.create(arrived_at=timezone.now(), expected_by=timezone.now() + timedelta(days=2))
    OutcomePath.objects.create()
    Reporter(Process.Kind.WEB).report()
    tenant_keys.start_key(owner, actor=ACTOR)
    BlobLease.objects.create(resource="scrub", holder=uuid.uuid4(), exclusive=True, expires_at=timezone.now())
    quotas.change(owner, {"openExecutions": 1000}, actor=ACTOR)
    Allowance.objects.create(tenant=owner, second=timezone.now(), granted=1, settled=1, counted_at=timezone.now())
    Grant.objects.create(pk=uuid.uuid4(), tenant=owner, permits=1, expires_at=timezone.now() + timedelta(days=2))
    _releases(owner)
    minute = timezone.now().replace(second=0, microsecond=0)
    counted = Release.objects.filter(pipeline__tenant=owner).order_by("pk")[0]
    FinishedCount.objects.create(release=counted, minute=minute, succeeded=1, failed=1, cancelled=1)
    _requests(owner)
    _gradual_activations(owner)
    _uploads(owner)
    _executions(owner)
    _schedules(owner)
    for slug in ("owner", "rival"):
        _alerts(Tenant.objects.get(slug=slug), slug)


def _alerts(owner: Tenant, name: str) -> None:
    """Create alerts and messages in each state, with a rule and a channel that have this name."""
    to = channels.add(owner, name=name, kind="webhook", address="https://receiver.example/", actor=ACTOR)
    pipeline = Pipeline.objects.filter(tenant=owner)[0]
    rule = rules.add(owner, name=name, kind="stranded", channel_ids=[to.pk], pipeline=pipeline, actor=ACTOR)
    second = "second" if name == "owner" else f"second-{name}"
    rules.add(owner, name=second, kind="workerLost", actor=ACTOR)
    for state in Alert.State:
        members: dict[str, Any] = {"tenant": owner.pk, "rule": rule.pk, "state": state.value}
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO alerts_alert (tenant_id, rule_id, subject, title, detail, path)
                VALUES (%(tenant)s, %(rule)s, %(state)s, '', '', '') RETURNING id""",
                members,
            )
            [alert] = cursor.fetchone()
            cursor.execute(
                "INSERT INTO alerts_alertevent (alert_id, kind, actor, data) VALUES (%s, 'FIRED', '', '{}')", [alert]
            )
            for end in AlertDelivery.State:
                cursor.execute(
                    """INSERT INTO alerts_alertdelivery (tenant_id, channel_id, alert_id, kind)
                    VALUES (%s, %s, %s, 'FIRING') RETURNING id""",
                    [owner.pk, to.pk, alert],
                )
                AlertDelivery.objects.filter(pk=cursor.fetchone()[0]).update(state=end)
        Alert.objects.filter(pk=alert).update(state=state)
    for state_of_message in Notification.State:
        notified = making.submitted(owner, f"notified-{state_of_message}", notify=to.name).execution_id
        interventions.cancel(owner, notified, actor=ACTOR, reason="")
        Notification.objects.filter(execution_id=notified).update(state=state_of_message)


def _releases(owner: Tenant) -> None:
    revoked = making.registered(owner, "0.1")
    revoke(revoked, actor=ACTOR, reason="leaked")
    holds.pause(revoked, actor=ACTOR, reason="leaked")
    holds.pause(Pipeline.objects.get(pipeline_id="org.example.other"), actor=ACTOR, reason="moved")
    revoke(making.registered(owner, "0.6"), actor=ACTOR, reason="leaked", open_executions=Order.FAIL)
    revoke(making.registered(owner, "0.8"), actor=ACTOR, reason="leaked", open_executions=Order.PAUSE)
    retire(making.registered(owner, "0.7"), actor=ACTOR, reason="replaced")
    contract = making.contract()
    data = making.archive(contract, code="another")
    making.upload(owner, making.descriptor(contract, data, "0.2"), data)
    verifying = making.upload(owner, making.descriptor(contract, data, "0.3"), data).release
    Release.objects.filter(pk=verifying.pk).update(status="VERIFYING")
    rejected = making.upload(owner, making.descriptor(contract, data, "0.4"), data).release
    Release.objects.filter(pk=rejected.pk).update(status="VERIFYING")
    Release.objects.filter(pk=rejected.pk).update(status="REJECTED")
    release = making.registered(owner, "0.5")
    attachments.attach(release, [signing.envelope(release.descriptor)], actor=ACTOR)
    signing.trusted(owner, "new")
    trust.revoke_key(signing.trusted(owner, "old"), actor=ACTOR, reason="left")
    Pipeline.objects.filter(pk=release.pipeline_id).update(application="orders")
    deployed(release, key="deployed", actor=ACTOR)
    for state in (Blob.State.DAMAGED, Blob.State.MISSING):
        digest = making.digest_of(state.encode())
        blobs.record_sound(digest, size=1, fingerprint="f")
        blobs.record_unsound(digest, state)
    blobs.record_removed(making.digest_of(b"removed"), size=1)


def _requests(owner: Tenant) -> None:
    """Create requests in each state, on a pipeline that had no active release, and needs no approvals any more."""
    members = {"pipeline_id": "org.example.asked"}
    first, second = making.registered(owner, "1.0", **members), making.registered(owner, "2.0", **members)
    requester, *voters = (User.objects.create_user(name) for name in ("cat", "ann", "bob"))
    for person in (requester, *voters):
        Membership.objects.create(user=person, tenant=owner, role=Role.RELEASE_MANAGER)
    rows = Pipeline.objects.filter(pk=first.pipeline_id)
    rows.update(approvals=2)

    def ask(release: Release, *decisions: Decision, **more: Any) -> ActivationRequest:
        made = requests.ask(release, requester=requester, actor=ACTOR, reason="why", **more)
        for voter, decision in zip(voters, decisions, strict=False):
            made = vote(made, voter=voter, actor=ACTOR, decision=decision, round_number=1)
        return made

    ask(second, Decision.REFUSE)
    requests.withdraw(ask(second), actor=ACTOR, reason="x")
    let_pass(ask(second), 73)
    assert requests.decide() == 1
    third = making.registered(owner, "3.0", **members)
    ask(third)
    revoke(third, actor=ACTOR, reason="leaked")
    ask(second, Decision.APPROVE, Decision.APPROVE, activate_at=timezone.now() + timedelta(days=1))
    ask(second, Decision.APPROVE)
    assert ask(first, Decision.APPROVE, Decision.APPROVE).status == "ACTIVATED"
    rows.update(approvals=0)


def _gradual_activations(owner: Tenant) -> None:
    """Make a gradual activation in each status: 2.0 is promoted, 3.0 withdrawn, 4.0 replaced, and 5.0 is running."""
    making.active(owner, "1.0", pipeline_id=GRADUAL_PIPELINE)
    changes.promote(_gradual(owner, "2.0"), actor=ACTOR, reason="urgent")
    changes.withdraw(_gradual(owner, "3.0"), actor=ACTOR, reason="slow")
    replaced = _gradual(owner, "4.0")
    activate(Release.objects.select_related("pipeline__tenant").get(pk=replaced.baseline_id), actor=ACTOR)
    _gradual(owner, "5.0")


def _gradual(owner: Tenant, version: str) -> GradualActivation:
    return start(making.registered(owner, version, pipeline_id=GRADUAL_PIPELINE), gradual.plan(5, 50), actor=ACTOR)


def _uploads(owner: Tenant) -> None:
    for way in ("OPEN", "VERIFYING", "VERIFYING STORED", "VERIFYING REJECTED", "EXPIRED"):
        upload = ArtifactUpload.objects.create(
            tenant=owner,
            digest=making.digest_of(way.encode()),
            size=1,
            part_size=1,
            status="OPEN",
            uploaded_by=ACTOR,
            expires_at=timezone.now(),
        )
        for status in way.split():
            ArtifactUpload.objects.filter(pk=upload.pk).update(status=status)


def _executions(owner: Tenant) -> None:
    """Create executions in each state. A claim takes all due executions, so each runs before the next is submitted."""
    making.ready(owner)
    Pipeline.objects.filter(tenant=owner).update(retry_limit=1, retry_delay_seconds=3600)
    registry.drain(owner, making.PIPELINE, "worker-1", actor=ACTOR)
    registry.undrain(owner, making.PIPELINE, "worker-1", actor=ACTOR)
    said = StepReport(done=1, total=2, lines=[(1, "INFO", 0, None, "x")], details="[0,null,1]")
    _run(making.execution(owner, "succeeded"), making.outcome_of, report=said)
    _run(making.execution(owner, "failed"), making.failure, retryable=False)
    _run(making.execution(owner, "retried"), making.failure)
    answered = making.execution(owner, "answered")
    _run(answered, making.suspension)
    question = Interaction.objects.get(execution=answered)
    questions.answer(owner, question_id=question.pk, response={"n": 2}, actor=ACTOR)
    _run(answered, making.outcome_of, report=said)
    _run(making.execution(owner, "asking"), making.suspension)
    with transaction.atomic():
        cancelled = making.execution(owner, "cancelled")
        pipeline = cancelled.release.pipeline
        SearchValue.objects.create(execution=cancelled, pipeline=pipeline, name="customer", text="c-17")
    _run(cancelled, making.suspension)
    claims.claim(owner, Interaction.objects.get(execution=cancelled).pk, actor=ACTOR)
    holds.pause(cancelled, actor=ACTOR, reason="wrong")
    interventions.cancel(owner, cancelled.pk, actor=ACTOR, reason="no")
    holds.resume(cancelled, actor=ACTOR)
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    redriven = making.execution(owner, "redriven")
    _run(redriven, making.failure)
    completed = _campaign(owner)
    Campaign.objects.filter(pk=completed.pk).update(rate_since=timezone.now() - timedelta(minutes=1))
    assert campaigns.advance() == 1
    _run(redriven, making.outcome_of)
    _run(making.execution(owner, "resubmitted"), making.failure, code="Wrong")
    made = _campaign(owner, error_code="Wrong", kind=Campaign.Kind.RESUBMIT)
    Campaign.objects.filter(pk=made.pk).update(rate_since=timezone.now() - timedelta(minutes=1))
    assert campaigns.advance() == 1
    _run(Execution.objects.get(origin__campaign=made), making.outcome_of)
    _run(making.execution(owner, "dead"), making.failure)
    [active] = Release.objects.filter(
        pipeline__tenant=owner, pipeline__pipeline_id=making.PIPELINE, release_version="1.0"
    )
    tested = smoke_tests.start(active, actor=ACTOR, input={"n": 1}, idempotency_key="k", expected_result={"n": 1}).test
    _run(tested.execution, making.outcome_of)
    _admitted(owner, active)
    _campaign(owner)
    campaigns.pause(owner, _campaign(owner).pk, actor=ACTOR)
    campaigns.cancel(owner, _campaign(owner).pk, actor=ACTOR)
    failed = fitting(owner, Campaign.Kind.REDRIVE, Execution.objects.all())
    with transaction.atomic():
        drafting.freeze(owner, failed, filters={}, reason="again", rate_per_minute=60, created_by=ACTOR)
    running = making.execution(owner, "running")
    [claim] = making.claimed(owner, lease_seconds=3600)
    moves.renew_leases(owner.pk, [(claim.execution_id, claim.lease_token)], worker_id="worker-1", lease_seconds=3600)
    group: dict[str, Any] = {"items": [1], "outputs": [[1]], "total": 2, "failed": 0}
    ItemGroup.objects.create(execution=running, step_index=0, attempt=0, first_item=1, **group)
    FailedItems.objects.create(execution=running, step_index=1, failed=1, items=[{"index": 0, "item": 1}])
    with transaction.atomic():
        WireForm.objects.create(execution=making.execution(owner, "queued"), input=[1])


def _admitted(owner: Tenant, release: Release) -> None:
    """Admit an execution under the client key `admitted`."""
    receipt = AdmissionReceipt(tenant=owner, pipeline_id=making.PIPELINE, release=release, client_key="admitted")
    receipt.intent_fingerprint = receipt.release_fingerprint = "0" * 64
    request = ExecutionRequest(making.PIPELINE, {"n": 1}, admission_key("admitted"), receipt=receipt)
    [made] = submit_many(owner, [request], actor=ACTOR)
    assert isinstance(made, Submission)
    _run(made.execution, making.outcome_of)


def _schedules(owner: Tenant) -> None:
    """Create a schedule with a fire in each state."""
    schedule = making.scheduled(owner)
    made = Execution.objects.filter(tenant=owner)[0]
    for days, state in enumerate(ScheduleFire.State):
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO executions_schedulefire
                    (schedule_id, scheduled_at, is_backfill, state, code, detail, next_attempt_at)
                VALUES (%s, now() - make_interval(days => %s), false, 'DUE', '', '', now() + interval '1 day')
                RETURNING id""",
                [schedule.pk, days + 1],
            )
            [fire] = cursor.fetchone()
        if state != ScheduleFire.State.DUE:
            members = {"execution": made} if state == ScheduleFire.State.SUBMITTED else {}
            decided = {"state": state, "next_attempt_at": None, "decided_at": timezone.now(), **members}
            ScheduleFire.objects.filter(pk=fire).update(**decided)


def _run(execution: Execution, end: Callable[..., Outcome], **members: Any) -> None:
    [claim] = making.claimed(execution.tenant)
    assert claim.execution_id == execution.pk
    group = OutcomeGroup(worker_id="w", outcomes=[end(claim, **members)])
    assert outcome.record(execution.release.identity, group) == 1


def _campaign(owner: Tenant, error_code: str | None = None, **members: Any) -> Campaign:
    filters = Filters(pipeline_id=making.PIPELINE, error_code=error_code)
    return campaigns.start(owner, filters, rate_per_minute=60, reason="again", actor=ACTOR, **members)

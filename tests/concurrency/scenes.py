"""Calls that lock rows, each with the rows that it locks."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Model
from django.utils import timezone

from executions.awaits import awaits, questions, webhooks
from executions.lifecycle import retention
from executions.lifecycle.interventions import cancel, redrive
from executions.models import AwaitUnit, Campaign, Execution, Interaction, MessagePath, Worker
from executions.state_machine.moves import Claim
from executions.transports import rest_workers
from executions.workers import message_path, registry, tenant_keys
from governance.activation.activation import activate
from governance.campaigns import campaigns, drafting, drafts
from governance.campaigns.selection import Filters
from governance.gradual import changes
from governance.gradual.changes import start
from governance.requests.requests import carry_out
from governance.resubmission.resubmission import resubmit
from governance.retirement import retirement as revoked
from governance.retirement.retirement import Order, retire, revoke
from releases.artifacts import blobs
from releases.artifacts import retention as bytes_retention
from releases.models import Blob, Release
from releases.registration.registrar import register
from releases.registration.verification import verify_release
from releases.trust import attachments
from tenancy.models import Tenant
from tests import gradual, making, requesting, signing
from tests.concurrency.sessions import Call
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.raw_sql import run, unguarded
from wire.messages.celery_messages import Checkpoint, Heartbeat, HeldLease

Scene = tuple[Call, Sequence[Model]]
AWAY = timedelta(minutes=3)
NO_AGE = timedelta(seconds=-60)
NOWHERE = "http://127.0.0.1:1"
"""An origin on which nothing listens."""


def name_of(value: Any) -> str:
    """Return the name of a scene or of a table."""
    return name_of(value.args[0]) if isinstance(value, partial) else getattr(value, "__name__", str(value))


# --- releases ---


def fresh(release: Release) -> Release:
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def of_release(call: Callable[..., Any], **members: Any) -> Scene:
    release = fresh(making.registered(making.tenant()))
    return partial(call, release, actor="user:x", **members), [release.pipeline, release]


def of_pipeline(call: Callable[..., Any], **members: Any) -> Scene:
    changing, rows = of_release(call, **members)
    return changing, rows[:1]


activation = partial(of_pipeline, activate)
revocation = partial(of_pipeline, revoke, reason="a mistake")
revocation_that_pauses = partial(of_release, revoke, reason="a mistake", open_executions=Order.PAUSE)
retirement = partial(of_release, retire, reason="replaced")


def activation_with_keys() -> Scene:
    release = fresh(making.registered(making.tenant()))
    keys = [signing.trusted(release.pipeline.tenant, name) for name in ("c", "b", "a")]
    return partial(activate, release, actor="user:x"), keys


def gradual_start() -> Scene:
    owner, old = making.ready()
    candidate = fresh(making.registered(owner, "2.0"))
    return partial(start, candidate, gradual.plan(5, 50), actor="user:x"), [old.pipeline]


def of_gradual(call: Callable[..., Any], **members: Any) -> Scene:
    made = gradual.started(making.ready()[0], 5, 50)
    return partial(call, made, actor="user:x", **members), [made.pipeline]


gradual_step = partial(of_gradual, changes.move_on)
gradual_promotion = partial(of_gradual, changes.promote, reason="urgent")
gradual_withdrawal = partial(of_gradual, changes.withdraw, reason="a mistake")


def last_vote() -> Scene:
    request = requesting.open_request(requesting.candidate(), activate_at=requesting.soon())
    voter = requesting.person(request.release.pipeline.tenant)
    return partial(requesting.voted, request, voter), [request.pipeline, request]


def due_request() -> Scene:
    request = requesting.open_request(requesting.candidate(0), activate_at=requesting.soon())
    requesting.let_pass(request, 2)
    return partial(carry_out, request), [request.pipeline, request]


def retirement_of_release() -> Scene:
    call, rows = retirement()
    return call, rows[1:]


def ordered_failures() -> Scene:
    owner, release = making.ready()
    made = making.execution(owner)
    event = revoke(release, actor="user:x", reason="a mistake", open_executions=Order.FAIL)
    return partial(revoked.fail_batch, event.pk), [event, made]


def redrive_of_one() -> Scene:
    owner, [failed, *_] = dead()
    return partial(redrive, owner, failed.pk, actor="user:x", reason=""), [failed.release]


def attachment() -> Scene:
    release = making.registered(making.tenant())
    content = json.dumps(signing.cyclone(["c"])).encode()
    return partial(attachments.attach, release, [content], actor="user:x"), [release]


def contents() -> tuple[dict[str, Any], bytes]:
    document = making.contract()
    data = making.archive(document, code=os.urandom(8).hex())
    return making.descriptor(document, data), data


def uploaded() -> Release:
    return making.upload(making.tenant(), *contents()).release


def verification() -> Scene:
    release = uploaded()
    return partial(verify_release, release.pk), [release]


def blob_of(release: Release) -> Blob:
    return Blob.objects.get(artifacts__release=release)


def damage(blob: Blob) -> None:
    path = making.stored_file(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"damage")


def registration() -> Scene:
    descriptor, data = contents()
    blob = blob_of(making.upload(making.tenant(), descriptor, data).release)
    text = json.dumps(descriptor).encode()
    return partial(register, making.tenant(), text, [making.staged(data)], actor="user:x"), [blob]


def healing() -> Scene:
    """Upload bytes that are missing for a registered release."""
    owner = making.tenant()
    descriptor, data = contents()
    blob = blob_of(making.upload(owner, descriptor, data).release)
    damage(blob)
    assert blobs.check(blob.digest).state == "DAMAGED"
    text = json.dumps(descriptor).encode()
    return partial(register, owner, text, [making.staged(data)], actor="user:x"), [blob]


def checked_bytes(change: Callable[[Blob], object] = lambda _: None) -> Scene:
    blob = blob_of(uploaded())
    change(blob)
    return partial(blobs.check, blob.digest), [blob]


sound_bytes = checked_bytes
damaged_bytes = partial(checked_bytes, damage)
missing_bytes = partial(checked_bytes, lambda blob: making.stored_file(blob.digest).unlink())


def removal_of_bytes() -> Scene:
    staged = making.staged(os.urandom(8)).staged
    staged.keep()
    orphans = [orphan for orphan in bytes_retention.orphans(NO_AGE) if orphan.name == staged.digest]
    return lambda: list(bytes_retention.remove(orphans, NO_AGE)), [Blob(digest=staged.digest)]


# --- executions ---


def running(owner: Tenant, count: int) -> list[Claim]:
    """Claim new executions of a release with checkpoints."""
    for number in range(count):
        making.execution(owner, f"k{number}")
    with unguarded(Execution):
        Execution.objects.update(checkpoints=True)
    return making.claimed(owner)


def executions() -> list[Execution]:
    return list(Execution.objects.order_by("pk"))


def recording() -> Scene:
    outcomes = [making.outcome_of(claim) for claim in running(making.ready()[0], 3)]
    return partial(making.record, *outcomes), executions()


def recording_checkpoints() -> Scene:
    reached = [checkpoint(claim) for claim in running(making.ready()[0], 3)]
    return partial(making.record, checkpoints=reached), executions()


def checkpoint(claim: Claim) -> Checkpoint:
    return making.reached(claim, 1, '{"n": 2}')


def dead(count: int = 3) -> tuple[Tenant, list[Execution]]:
    owner, _ = making.ready()
    Worker.objects.update(capacity=100)
    making.dead(owner, *(f"k{number}" for number in range(count)))
    return owner, executions()


def start_campaign(owner: Tenant, **members: Any) -> Campaign:
    filters = Filters(pipeline_id=making.PIPELINE)
    return campaigns.start(owner, filters, reason="because", rate_per_minute=600, actor="user:x", **members)


def draft(owner: Tenant, kind: Campaign.Kind = Campaign.Kind.REDRIVE) -> Campaign:
    return drafts.freeze(owner, kind, Execution.objects.all(), actor="user:x")


def frozen(owner: Tenant, **members: Any) -> Campaign:
    failed = Execution.objects.filter(tenant=owner, status="DLQ")
    columns = {"filters": {}, "reason": "x", "rate_per_minute": 600, "created_by": "user:x", **members}
    with transaction.atomic():
        return drafting.freeze(owner, failed, **columns).campaign


def campaign_drafting() -> Scene:
    return drafting.draft, [frozen(dead()[0], starts=True)]


def fail(owner: Tenant) -> None:
    making.record(*(making.failure(claim, retryable=False) for claim in making.claimed(owner)))


def due_campaign(kind: Campaign.Kind) -> Scene:
    owner, release = making.ready()
    if kind in (Campaign.Kind.REDRIVE, Campaign.Kind.RESUBMIT):
        making.dead(owner, "a", "b", "c")
    else:
        making.copies(making.execution(owner, "a"), 2)
    made = start_campaign(owner, kind=kind)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=30))
    pipelines = [release.pipeline] if kind in (Campaign.Kind.PAUSE, Campaign.Kind.RESUBMIT) else []
    return campaigns.advance, [made, *pipelines, *executions()]


campaign_advance, campaign_of_resubmissions, campaign_of_cancellations, campaign_of_pauses = (
    partial(due_campaign, kind)
    for kind in (Campaign.Kind.REDRIVE, Campaign.Kind.RESUBMIT, Campaign.Kind.CANCEL, Campaign.Kind.PAUSE)
)


def campaign_start() -> Scene:
    owner, failed = dead()
    return partial(start_campaign, owner), failed


def resubmission() -> Scene:
    owner, [failed] = dead(1)
    return partial(resubmit, owner, failed.pk, actor="user:x", reason=""), [failed.release.pipeline, failed]


def removal(count: int = 3) -> tuple[Callable[[], int], list[Execution]]:
    owner, failed = dead(count)
    making.aged(*failed, days=31)
    Tenant.objects.filter(pk=owner.pk).update(failed_retention_days=30)
    return partial(retention.remove, seconds=60), failed


def answering() -> Scene:
    made = suspended(making.ready())
    question = interaction_of(made)
    call = partial(questions.answer, question.tenant, question_id=question.pk, response={"n": 2}, actor="user:x")
    return call, [made, AwaitUnit.objects.get(), question]


def giving_up_a_webhook() -> Scene:
    """The processes of the last attempts died."""
    made = suspended(making.ready(), transport="webhook", transport_metadata={"url": NOWHERE})
    Interaction.objects.update(dispatch_attempts=settings.WEBHOOK_ATTEMPTS)
    return webhooks.OUTBOX.send, [made, AwaitUnit.objects.get()]


def timing_out() -> Scene:
    made = suspended(making.ready())
    make_late(interaction_of(made))
    return awaits.expire, [made]


def cancelling() -> Scene:
    made = suspended(making.ready())
    return partial(cancel, made.tenant, made.pk, actor="user:x", reason=""), [made, AwaitUnit.objects.get()]


# --- workers ---


def heartbeat_call(release: Release, worker_id: str, *claims: Claim) -> Call:
    held = [HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=1) for claim in claims]
    message = Heartbeat(worker_id=worker_id, state="HEALTHY", capacity=10, running=held)
    tenant = release.pipeline.tenant
    return partial(registry.take_heartbeat, tenant, release.identity, message, timezone.now())


def first_heartbeat() -> Scene:
    release = making.active(making.tenant())
    return heartbeat_call(release, "new"), [release.pipeline.tenant]


def heartbeat() -> Scene:
    owner, release = making.ready()
    return heartbeat_call(release, "worker-1", *running(owner, 3)), [Worker.objects.get()]


def heartbeat_of_a_silent_worker() -> Scene:
    owner, release = making.ready()
    worker = Worker.objects.get()
    making.silence(worker)
    return heartbeat_call(release, "worker-1"), [owner, worker]


def admission_of_a_rest_worker() -> Scene:
    owner, release = making.ready()
    Worker.objects.update(stopped_at=timezone.now())
    call = partial(rest_workers.admit, owner, release.identity, endpoint=NOWHERE, actor="user:x")
    return partial(call, worker_id="worker-1"), [owner, Worker.objects.get()]


def end_of_an_interruption() -> Scene:
    owner, _ = making.ready()
    for number in range(2):
        making.worker(Release.objects.get(), f"more-{number}")
    running(owner, 3)
    message_path.confirm()
    MessagePath.objects.update(arrived_at=F("arrived_at") - AWAY, expected_by=F("expected_by") - AWAY)
    run("UPDATE executions_execution SET lease_expires_at = now() - interval '2 minutes'")
    return message_path.confirm, [MessagePath.objects.get(), *Worker.objects.order_by("pk")]


def of_tenant(change: Callable[..., Any]) -> Scene:
    owner = making.tenant()
    return partial(change, owner, actor="user:x"), [owner]


key_start = partial(of_tenant, tenant_keys.start_key)
key_replacement = partial(of_tenant, tenant_keys.replace_key)


def key_revocation() -> Scene:
    owner = making.tenant()
    tenant_keys.start_key(owner, actor="user:x")
    return partial(tenant_keys.revoke_old_key, owner, actor="user:x"), [owner]

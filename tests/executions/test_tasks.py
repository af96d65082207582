"""The tasks accept or reject each message from the broker, and never fail."""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.utils import timezone
from redis import Redis

from coordinator.celery import QUEUES
from executions import tasks
from executions.models import Execution, ExecutionEvent, Worker
from executions.state_machine.moves import Claim
from executions.workers.registry import DISPATCH_TASK
from foundation.wakeups import wakeup
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.raw_sql import rows
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.sealing import seal
from wire.messages.task_messages import NOTHING_FOLLOWS, MessageRefused, TaskMessages
from wire.worker_keys import WorkerKey, worker_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def claim() -> Claim:
    owner, _ = making.ready()
    making.execution(owner)
    return making.claimed(owner)[0]


def identity(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def key(tenant: str) -> WorkerKey:
    return worker_key(settings.WORKER_SECRET, tenant)


def outcomes(claim: Claim, tenant: str | None = None) -> dict[str, Any]:
    """Return an outcome of the worker that holds the claim, signed with the key of `tenant`."""
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    return seal(identity(claim), group, key(tenant or claim.tenant))


def heartbeat(claim: Claim, tenant: str | None = None, **members: Any) -> dict[str, Any]:
    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token)
    body = Heartbeat(**{"worker_id": "w", "state": "HEALTHY", "capacity": 1, "running": [lease], **members})
    return seal(identity(claim), body, key(tenant or claim.tenant))


def nothing_changes(task: Any, message: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return what is logged when `task` rejects `message`, after checking that no row has changed."""
    tables = (Execution, ExecutionEvent, Worker)
    before = [rows(table) for table in tables]
    with caplog.at_level(logging.WARNING, "executions"):
        task(message)
    assert [rows(table) for table in tables] == before
    assert "Refused" in caplog.text
    return caplog.text


def test_an_outcome_sends_a_wake_up_for_the_place_that_it_frees(
    claim: Claim, django_capture_on_commit_callbacks: Any
) -> None:
    taken("control")
    wakeup.started(DISPATCH_TASK)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.record(outcomes(claim))
    assert (DISPATCH_TASK, []) in taken("control")


def test_a_signed_outcome_is_recorded(claim: Claim) -> None:
    tasks.record(outcomes(claim))
    assert Execution.objects.get(pk=claim.execution_id).status == "SUCCEEDED"


def test_a_late_outcome_is_recorded_while_its_lease_is_held(claim: Claim) -> None:
    message = making.resealed(outcomes(claim), key(claim.tenant), timestamp="2001-01-01T00:00:00+00:00")
    tasks.record(message)
    assert Execution.objects.get(pk=claim.execution_id).status == "SUCCEEDED"


def test_a_signed_heartbeat_registers_and_renews(claim: Claim) -> None:
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    tasks.heartbeat(heartbeat(claim))
    assert Worker.objects.filter(tenant__slug=claim.tenant, worker_id="w").exists()
    renewed = Execution.objects.get(pk=claim.execution_id).lease_expires_at
    assert renewed is not None
    assert renewed > timezone.now()


@cases("task", [tasks.record, tasks.heartbeat])
@cases("message", [None, "", 1, [], {}, {"kind": "outcomes"}, [{"body": "{}"}]])
def test_a_value_that_is_not_an_envelope_is_rejected(task: Any, message: Any, caplog: pytest.LogCaptureFixture) -> None:
    nothing_changes(task, message, caplog)


@cases("signer", ["another-tenant", ""])
def test_a_signature_of_another_tenants_key_is_rejected(
    claim: Claim, signer: str, caplog: pytest.LogCaptureFixture
) -> None:
    logged = nothing_changes(tasks.record, outcomes(claim, signer or "?"), caplog)
    assert "KEY_NOT_ACTIVE" in logged
    nothing_changes(tasks.heartbeat, heartbeat(claim, signer or "?"), caplog)


def test_a_tenants_key_is_not_valid_for_another_tenants_execution(claim: Claim) -> None:
    """The envelope has a valid signature of a tenant to which the execution does not belong."""
    other, release = making.ready()
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    tasks.record(seal(release.identity, group, key(other.slug)))
    execution = Execution.objects.get(pk=claim.execution_id)
    assert (execution.status, execution.event_count) == ("RUNNING", 2)


def test_a_message_is_rejected_by_the_task_of_another_kind(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    nothing_changes(tasks.record, heartbeat(claim), caplog)
    nothing_changes(tasks.heartbeat, outcomes(claim), caplog)


@cases("offset", [timedelta(minutes=-3), timedelta(minutes=3)])
def test_a_heartbeat_outside_the_allowed_time_is_rejected(
    claim: Claim, offset: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    sent = (timezone.now() + offset).isoformat()
    message = making.resealed(heartbeat(claim), key(claim.tenant), timestamp=sent)
    assert "timestamp" in nothing_changes(tasks.heartbeat, message, caplog)


def test_the_sweep_expires_lost_leases_and_dispatches_again(claim: Claim) -> None:
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    tasks.sweep()
    execution = Execution.objects.get(pk=claim.execution_id)
    assert [kind for kind, _ in making.history(execution)] == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED"]
    assert execution.attempt == 0


def test_the_control_worker_accepts_its_tasks_as_they_are_sent() -> None:
    app: Any = current_app
    app.loader.import_default_modules()
    messages = app.conf.broker_transport_options["messages"]
    names = [name for name in app.tasks if not name.startswith("celery.")]
    assert {HEARTBEAT_TASK, RECORD_TASK, DISPATCH_TASK, "releases.verify"} <= set(names)
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        for name in names:
            queue = app.amqp.router.route({}, name)["queue"].name
            redis.delete(queue)
            app.send_task(name, args=[{}], countdown=1, expires=60, retries=3)
            message = messages.read(queue, redis.rpop(queue))
            assert (message.task, message.arguments, message.retries) == (name, [{}], 3)
            assert message.eta < message.expires


def test_the_queue_of_each_task_and_when_it_is_acknowledged() -> None:
    """A message that is not acknowledged is delivered again after 15 seconds, even if its task still runs."""
    app: Any = current_app
    app.loader.import_default_modules()
    late, early = dict[str, str](), dict[str, str]()
    for name, task in app.tasks.items():
        if not name.startswith("celery."):
            (late if task.acks_late else early)[name] = app.amqp.router.route({}, name)["queue"].name
    assert late == {
        **dict.fromkeys(["executions.dispatch", "executions.tell_worker", "executions.expire_awaits"], "control"),
        **dict.fromkeys(["executions.sweep", "releases.sweep", "executions.fail_revoked"], "control"),
        **dict.fromkeys(["executions.watch_gradual", "releases.carry_out_requests"], "control"),
        "executions.count_finished": "control",
        "executions.record": "outcomes",
        **dict.fromkeys(["executions.heartbeat", "executions.confirm_messages"], "heartbeats"),
        "executions.send_webhooks": "webhooks",
        "executions.remove_old": "artifacts",
        "alerts.deliver": "webhooks",
        "alerts.remove_old": "artifacts",
    }
    assert early == {
        "executions.call_rest_worker": "rest",
        "executions.check_capability": "control",
        "alerts.evaluate": "control",
        **dict.fromkeys(["releases.verify", "releases.finish_upload", "releases.scrub"], "artifacts"),
        **dict.fromkeys(["releases.check_blob", "releases.remove_orphans"], "artifacts"),
    }


@cases(("task", "own"), [(RECORD_TASK, OUTCOME_QUEUE), (HEARTBEAT_TASK, HEARTBEAT_QUEUE)])
def test_messages_of_workers_are_accepted_only_from_the_queue_of_their_kind(task: str, own: str) -> None:
    app: Any = current_app
    app.loader.import_default_modules()
    header = {"task": task, "eta": None, "expires": None, "retries": 0}
    body = json.dumps([[{"kind": "outcomes"}], {}, NOTHING_FOLLOWS]).encode()
    accepted = []
    for queue in QUEUES:
        with suppress(MessageRefused):
            app.conf.broker_transport_options["messages"].read(queue, TaskMessages().write(queue, header, body))
            accepted.append(queue)
    assert accepted == [own]

"""The tasks accept or reject each message from the broker, and never fail. A rejected message changes no row.

Anyone with access to the broker can send any message. A tenant's worker holds a key, so it can sign any body.
"""

import json
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from coordinator.celery import QUEUES
from executions import tasks
from executions.models import Execution, Worker
from executions.state_machine.moves import Claim
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from tests import making, sealed
from tests.broker import taken
from tests.cases import Log, cases
from tests.raw_sql import rows, unchanged
from tests.words import words
from wire.messages.celery_messages import Heartbeat, HeldLease, Instruction, OutcomeGroup
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.sealing import seal
from wire.messages.task_messages import NOTHING_FOLLOWS, MessageRefused, TaskMessages
from wire.worker_keys import WorkerKey, worker_key

TASKS: dict[str, Any] = {"outcomes": tasks.record, "heartbeat": tasks.heartbeat}
KINDS = list(TASKS)


def key(tenant: str) -> WorkerKey:
    return worker_key(settings.WORKER_SECRET, tenant)


def good(claim: Claim, kind: str, **members: Any) -> dict[str, Any]:
    """Return a valid message of the worker that holds the claim."""
    body: Any = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    if kind == "heartbeat":
        held = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token)
        body = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=[held])
    return seal(Execution.objects.get().pin, members.get("body", body), key(claim.tenant))


def signed(claim: Claim, kind: str, **changes: Any) -> dict[str, Any]:
    return sealed.resealed(good(claim, kind), key(changes.get("tenantId", claim.tenant)), **changes)


def refused(kind: str, message: Any, caplog: Log) -> str:
    """Return the code with which the task rejects `message`."""
    caplog.clear()
    with unchanged(), caplog.at_level(logging.WARNING):
        TASKS[kind](message)
    [record] = caplog.records
    assert record.msg.startswith("Refused")
    assert isinstance(record.args, tuple)
    return str(record.args[0])


def test_an_outcome_counts_once(claim: Claim, execution: Execution, django_capture_on_commit_callbacks: Any) -> None:
    taken("control")
    wakeup.started(DISPATCH_TASK)
    message = signed(claim, "outcomes", timestamp="2001-01-01T00:00:00+00:00")
    with django_capture_on_commit_callbacks(execute=True):
        tasks.record(message)
    assert (DISPATCH_TASK, []) in taken("control")
    [before] = rows(Execution)
    tasks.record(message)
    assert rows(Execution) == [{**before, "event_count": 4}]
    assert making.history(execution)[2:] == [("SUCCEEDED", "SUCCEEDED"), ("OUTCOME_DROPPED", "SUCCEEDED")]


def test_a_signed_heartbeat_registers_and_renews_once(claim: Claim) -> None:
    message = good(claim, "heartbeat")
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    tasks.heartbeat(message)
    assert Worker.objects.filter(tenant__slug=claim.tenant, worker_id="w").exists()
    assert Execution.objects.filter(lease_expires_at__gt=timezone.now()).exists()
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    with unchanged():
        tasks.heartbeat(message)


@cases("kind", KINDS)
@cases(
    ("changes", "code"),
    *(({"signature": text}, "SIGNATURE_INVALID") for text in ("0" * 64, "é")),
    *(({name: "x"}, "KEY_NOT_ACTIVE") for name in ("tenantId", "keyId")),
    ({"seals": [None]}, "ENVELOPE_MALFORMED"),
)
def test_a_changed_message_is_rejected(claim: Claim, kind: str, changes: Any, code: str, caplog: Log) -> None:
    assert refused(kind, sealed.changed(good(claim, kind), changes), caplog) == code


ODD_BODY = '{"workerId": "w", "outcomes": [], "state": "HEALTHY", "capacity": 99999999999}'


@cases(("kind", "other"), [("outcomes", "heartbeat"), ("heartbeat", "outcomes")])
def test_a_malformed_body_and_another_kind_are_rejected(claim: Claim, kind: str, other: str, caplog: Log) -> None:
    malformed = [signed(claim, kind, body=body) for body in ("{", "[" * 100_000 + "]" * 100_000, ODD_BODY)]
    order = good(claim, "outcomes", body=Instruction(worker_id="w", drain=True))
    for message in (*malformed, good(claim, other), order):
        assert refused(kind, message, caplog) == "ENVELOPE_MALFORMED"


def test_a_heartbeat_outside_the_allowed_time_is_rejected(claim: Claim, caplog: Log) -> None:
    skewed = [(timezone.now() + timedelta(minutes=minutes)).isoformat() for minutes in (-3, 3)]
    for timestamp in (*skewed, "", "now", "2026-11-24T00:00:00", "9" * 5_000):
        assert refused("heartbeat", signed(claim, "heartbeat", timestamp=timestamp), caplog) == "TIMESTAMP_REFUSED"


def test_messages_for_an_unknown_tenant_change_nothing(claim: Claim, caplog: Log) -> None:
    assert refused("heartbeat", signed(claim, "heartbeat", tenantId="nowhere"), caplog) == "TENANT_UNKNOWN"
    body = sealed.body_of(good(claim, "outcomes"), key(claim.tenant))
    with unchanged():
        tasks.record(signed(claim, "outcomes", tenantId="nowhere", body=body))
    assert "is not an execution of tenantId=nowhere" in caplog.text


@cases("kind", KINDS)
def test_a_worker_of_another_tenant_reaches_no_lease(claim: Claim, kind: str) -> None:
    """Its pipeline and worker have the same names. It knows the fencing token, as if it had a copy of the command."""
    making.ready(other := making.tenant())
    body = sealed.body_of(good(claim, kind), key(claim.tenant))
    with unchanged(Execution):
        TASKS[kind](signed(claim, kind, tenantId=other.slug, body=body))


def test_the_queue_of_each_task_and_when_it_is_acknowledged(app: Any) -> None:
    """A message that is not acknowledged is delivered again after 15 seconds, even if its task still runs."""
    queues: dict[tuple[str, bool], set[str]] = {}
    for name, task in app.tasks.items():
        if not name.startswith("celery."):
            queues.setdefault((app.amqp.router.route({}, name)["queue"].name, task.acks_late), set()).add(name)
    assert queues == {
        ("control", True): {
            *words("executions.dispatch executions.tell_worker executions.expire_awaits executions.sweep"),
            *words("releases.sweep executions.fail_revoked executions.draft_campaigns executions.promote_low"),
            *words("executions.grant_places executions.grant_due_places executions.fire_schedules"),
            *words("executions.call_children executions.hand_over_ends executions.watch_gradual"),
            *words("releases.carry_out_requests executions.count_finished"),
        },
        ("outcomes", True): {"executions.record"},
        ("heartbeats", True): {"executions.heartbeat", "executions.confirm_messages"},
        ("webhooks", True): {*words("executions.send_webhooks outbox.invitations alerts.deliver alerts.notify")},
        ("artifacts", True): {"executions.remove_old", "alerts.remove_old"},
        ("rest", False): {"executions.call_rest_worker"},
        ("control", False): {"executions.check_capability", "alerts.evaluate"},
        ("artifacts", False): {
            *words("releases.verify releases.finish_upload releases.scrub releases.check_blob releases.remove_orphans")
        },
    }


@cases(("task", "expected"), [(RECORD_TASK, OUTCOME_QUEUE), (HEARTBEAT_TASK, HEARTBEAT_QUEUE)])
def test_messages_of_workers_are_accepted_only_from_the_queue_of_their_kind(app: Any, task: str, expected: str) -> None:
    header = {"task": task, "eta": None, "expires": None, "retries": 0}
    body = json.dumps([[{"kind": "outcomes"}], {}, NOTHING_FOLLOWS]).encode()
    accepted = []
    for queue in QUEUES:
        with suppress(MessageRefused):
            app.conf.broker_transport_options["messages"].read(queue, TaskMessages().write(queue, header, body))
            accepted.append(queue)
    assert accepted == [expected]

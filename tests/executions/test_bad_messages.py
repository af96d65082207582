"""Invalid messages: each is rejected with its code, and no row changes.

Anyone with access to the broker can send any message. A tenant's worker holds a key, so it can sign any body.
"""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from executions import tasks
from executions.models import AwaitUnit, DeadLetter, Execution, ExecutionEvent, Interaction, Worker, WorkerEvent
from executions.state_machine.moves import Claim
from tests import making
from tests.cases import cases
from tests.raw_sql import rows
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, HeldLease, Instruction, OutcomeGroup
from wire.messages.sealing import seal
from wire.worker_keys import WorkerKey, worker_key

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter, AwaitUnit, Interaction, Worker, WorkerEvent)
TASKS: dict[str, Any] = {"outcomes": tasks.record, "heartbeat": tasks.heartbeat}
kinds = pytest.mark.parametrize("kind", list(TASKS))


@pytest.fixture
def claim() -> Claim:
    owner, _ = making.ready()
    making.execution(owner)
    [claim] = making.claimed(owner)
    return claim


def identity(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def key(tenant: str) -> WorkerKey:
    return worker_key(settings.WORKER_SECRET, tenant)


def good(claim: Claim, kind: str) -> dict[str, Any]:
    """Return a valid message of the worker that holds the claim."""
    body: Any = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    if kind == "heartbeat":
        held = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token)
        body = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=[held])
    return seal(identity(claim), body, key(claim.tenant))


def refused(kind: str, message: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return the code with which the task rejects `message`, after checking that no row has changed."""
    before = [rows(table) for table in TABLES]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        TASKS[kind](message)
    assert [rows(table) for table in TABLES] == before
    [record] = caplog.records
    assert record.msg.startswith("Refused")
    assert isinstance(record.args, tuple)
    return str(record.args[0])


# --- messages of senders without a key ---

FORGED: list[tuple[dict[str, Any], str]] = [
    ({"signature": "0" * 64}, "SIGNATURE_INVALID"),
    ({"signature": ""}, "SIGNATURE_INVALID"),
    ({"signature": "é"}, "SIGNATURE_INVALID"),
    ({"signature": "\ud800"}, "ENVELOPE_MALFORMED"),
    ({"signature": None}, "ENVELOPE_MALFORMED"),
    ({"nonce": "another"}, "SIGNATURE_INVALID"),
    ({"nonce": ""}, "ENVELOPE_MALFORMED"),
    ({"nonce": "n" * 101}, "ENVELOPE_MALFORMED"),
    ({"timestamp": "2026-01-01T00:00:00+00:00"}, "SIGNATURE_INVALID"),
    ({"timestamp": 0}, "ENVELOPE_MALFORMED"),
    ({"tenantId": "somebody-else"}, "KEY_NOT_ACTIVE"),
    ({"tenantId": "\ud800"}, "ENVELOPE_MALFORMED"),
    ({"tenantId": "\x00"}, "ENVELOPE_MALFORMED"),
    ({"pipelineId": "org.example.other"}, "SIGNATURE_INVALID"),
    ({"releaseVersion": "2.0"}, "SIGNATURE_INVALID"),
    ({"releaseVersion": "v" * 501}, "ENVELOPE_MALFORMED"),
    ({"contractVersion": {}}, "ENVELOPE_MALFORMED"),
    ({"protocolVersion": "2"}, "ENVELOPE_MALFORMED"),
    ({"kind": "commands"}, "SIGNATURE_INVALID"),
    ({"kind": "anything"}, "ENVELOPE_MALFORMED"),
    ({"body": "{}"}, "SIGNATURE_INVALID"),
    ({"body": {}}, "ENVELOPE_MALFORMED"),
    ({"keyId": "1-000000000000"}, "KEY_NOT_ACTIVE"),
    ({"keyId": "2"}, "KEY_NOT_ACTIVE"),
    ({"keyId": "\ud800"}, "ENVELOPE_MALFORMED"),
    ({"keyId": "k" * 41}, "ENVELOPE_MALFORMED"),
    ({"keyId": None}, "ENVELOPE_MALFORMED"),
    ({"encrypted": None}, "ENVELOPE_MALFORMED"),
    ({"encrypted": 1}, "ENVELOPE_MALFORMED"),
    ({"seals": []}, "ENVELOPE_MALFORMED"),
    ({"seals": {}}, "ENVELOPE_MALFORMED"),
    ({"seals": [None]}, "ENVELOPE_MALFORMED"),
    ({"seals": None}, "ENVELOPE_MALFORMED"),
    ({"unknown": 1}, "ENVELOPE_MALFORMED"),
]


@kinds
@cases(("changes", "code"), FORGED)
def test_a_message_that_was_changed_in_transit_is_rejected(
    claim: Claim, kind: str, changes: dict[str, Any], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(kind, making.changed(good(claim, kind), changes), caplog) == code


@kinds
@cases("missing", ["kind", "tenantId", "timestamp", "nonce", "seals", "keyId", "encrypted", "body", "signature"])
def test_an_incomplete_message_is_rejected(
    claim: Claim, kind: str, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = making.changed(good(claim, kind), {missing: ...})
    assert refused(kind, message, caplog) == "ENVELOPE_MALFORMED"


@kinds
@cases("message", [None, True, 0, 1.5, "", "{}", b"\xff", [], [[]], {}, {"body": "x" * 10**6}])
def test_a_value_that_is_not_a_message_is_rejected(kind: str, message: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert refused(kind, message, caplog) == "ENVELOPE_MALFORMED"


# --- messages of senders with a key ---

BODIES = {
    "not JSON": "{",
    "no object": "[]",
    "null": "null",
    "NaN": '{"workerId": NaN}',
    "a lone surrogate": '{"workerId": "\\ud800"}',
    "deep": "[" * 100_000 + "]" * 100_000,
    "an empty group": '{"workerId": "w", "outcomes": []}',
    "a worker without a name": '{"workerId": "", "outcomes": [], "state": "HEALTHY", "capacity": 1}',
    "NUL in a name": '{"workerId": "\\u0000", "state": "HEALTHY", "capacity": 1}',
    "no such state": '{"workerId": "w", "state": "ODD", "capacity": 1}',
    "no capacity": '{"workerId": "w", "state": "HEALTHY", "capacity": 0}',
    "too much capacity": '{"workerId": "w", "state": "HEALTHY", "capacity": 99999999999}',
    "a number as text": '{"workerId": "w", "state": "HEALTHY", "capacity": "1"}',
}


@kinds
@cases("body", BODIES.values())
def test_a_malformed_body_with_a_valid_signature_is_rejected(
    claim: Claim, kind: str, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = making.resealed(good(claim, kind), key(claim.tenant), body=body)
    assert refused(kind, message, caplog) == "ENVELOPE_MALFORMED"


@cases("member", ["executionVersion", "outcome", "leaseToken", "transitionKey", "outputPayloads"])
@cases("value", [None, -1, 2**63, "\x00", [None], {}])
def test_an_outcome_with_a_member_of_the_wrong_type_is_rejected(
    claim: Claim, member: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    message = good(claim, "outcomes")
    body = json.loads(making.body_of(message, key(claim.tenant)))
    body["outcomes"][0][member] = value
    message = making.resealed(message, key(claim.tenant), body=json.dumps(body))
    assert refused("outcomes", message, caplog) == "ENVELOPE_MALFORMED"


@kinds
def test_a_message_of_another_kind_is_rejected(claim: Claim, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    other = next(each for each in TASKS if each != kind)
    assert refused(kind, good(claim, other), caplog) == "ENVELOPE_MALFORMED"
    order = seal(identity(claim), Instruction(worker_id="w", drain=True), key(claim.tenant))
    assert refused(kind, order, caplog) == "ENVELOPE_MALFORMED"


def test_a_heartbeat_for_an_unknown_tenant_is_rejected(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    message = making.resealed(good(claim, "heartbeat"), key("nowhere"), tenantId="nowhere")
    assert refused("heartbeat", message, caplog) == "TENANT_UNKNOWN"


def test_outcomes_for_an_unknown_tenant_are_dropped(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    body = making.body_of(good(claim, "outcomes"), key(claim.tenant))
    message = making.resealed(good(claim, "outcomes"), key("nowhere"), tenantId="nowhere", body=body)
    before = [rows(table) for table in TABLES]
    with caplog.at_level(logging.WARNING):
        TASKS["outcomes"](message)
    assert [rows(table) for table in TABLES] == before
    [logged] = caplog.records
    assert "is not an execution of tenantId=nowhere" in logged.getMessage()


@cases("skew", [timedelta(minutes=-3), timedelta(minutes=3), timedelta(days=-9_999)])
def test_a_heartbeat_of_a_worker_with_a_wrong_clock_is_rejected(
    claim: Claim, skew: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    sent = (timezone.now() + skew).isoformat()
    message = making.resealed(good(claim, "heartbeat"), key(claim.tenant), timestamp=sent)
    assert refused("heartbeat", message, caplog) == "TIMESTAMP_REFUSED"


@cases("timestamp", ["", "now", "2026-13-01T00:00:00+00:00", "2026-11-24T00:00:00", "0", "9" * 5_000])
def test_a_heartbeat_with_an_invalid_timestamp_is_rejected(
    claim: Claim, timestamp: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = making.resealed(good(claim, "heartbeat"), key(claim.tenant), timestamp=timestamp)
    assert refused("heartbeat", message, caplog) == "TIMESTAMP_REFUSED"


def test_a_replayed_heartbeat_changes_nothing(claim: Claim) -> None:
    message = good(claim, "heartbeat")
    tasks.heartbeat(message)
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=timezone.now() - timedelta(hours=1))
    before = [rows(table) for table in TABLES]
    tasks.heartbeat(message)
    assert [rows(table) for table in TABLES] == before


def test_a_replayed_outcome_is_dropped_and_recorded_as_an_event(claim: Claim) -> None:
    message = good(claim, "outcomes")
    tasks.record(message)
    before = {**rows(Execution)[0], "event_count": 4}
    tasks.record(message)
    assert rows(Execution) == [before]
    assert making.history(Execution.objects.get(pk=claim.execution_id))[2:] == [
        ("SUCCEEDED", "SUCCEEDED"),
        ("OUTCOME_DROPPED", "SUCCEEDED"),
    ]


def test_a_key_is_valid_only_for_executions_of_its_tenant(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    """The stranger's envelope is valid, but names an execution and a lease of another tenant."""
    stranger, release = making.ready()
    Execution.objects.update(lease_expires_at=timezone.now() + timedelta(seconds=1))
    before = rows(Execution), rows(ExecutionEvent)
    for kind, task in TASKS.items():
        body = making.body_of(good(claim, kind), key(claim.tenant))
        pin = {"contractVersion": release.contract_version, "releaseVersion": release.release_version}
        task(making.resealed(good(claim, kind), key(stranger.slug), tenantId=stranger.slug, body=body, **pin))
    assert (rows(Execution), rows(ExecutionEvent)) == before
    assert "Dropped an outcome" in caplog.text


# --- faulty messages of a legitimate worker ---

DEEP = "[" * 50_000 + "]" * 50_000
ODD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no JSON": ({"output_payloads": ["{"]}, "FAILED", "UNDECODABLE_OUTPUT"),
    "NUL": ({"output_payloads": ['"\\u0000"']}, "FAILED", "UNDECODABLE_OUTPUT"),
    "a lone surrogate": ({"output_payloads": ['"\\ud800"']}, "FAILED", "UNDECODABLE_OUTPUT"),
    "NaN": ({"output_payloads": ["NaN"]}, "FAILED", "UNDECODABLE_OUTPUT"),
    "deep": ({"output_payloads": [DEEP]}, "FAILED", "UNDECODABLE_OUTPUT"),
    "a huge number": ({"output_payloads": ["9" * 5_000]}, "FAILED", "UNDECODABLE_OUTPUT"),
    "a failure without a cause": ({"outcome": "FAILED", "output_payloads": []}, "WAIT_RETRY", "MALFORMED_OUTCOME"),
    "an await without a question": ({"outcome": "WAITING_EXTERNAL"}, "WAIT_RETRY", "MALFORMED_OUTCOME"),
    "a stop that was not requested": ({"stopped_before_step_index": 2**40}, "WAIT_RETRY", "MALFORMED_OUTCOME"),
}


@cases(("members", "status", "code"), ODD.values())
def test_an_outcome_that_cannot_be_stored_fails_its_execution(
    claim: Claim, members: dict[str, Any], status: str, code: str
) -> None:
    bad = making.outcome_of(claim).model_copy(update=members)
    tasks.record(seal(identity(claim), OutcomeGroup(worker_id="w", outcomes=[bad]), key(claim.tenant)))
    execution = Execution.objects.get(pk=claim.execution_id)
    assert (execution.status, execution.error_code) == (status, code)


SUSPENSIONS: dict[str, dict[str, Any]] = {
    "a step above the limit": {"step_index": 2**31 - 1},
    "a step above the range of the column": {"step_index": 2**70},
    "NUL in the step's name": {"step_id": "\x00"},
    "NUL in the assignee": {"assignee": "a\x00"},
    "NUL in the type": {"output_type": "\x00"},
    "a type with a long name": {"output_type": "t" * 10_000},
    "no such transport": {"transport": "pigeon"},
    "a webhook without a web address": {"transport": "webhook", "transport_metadata": {"url": "file:///etc/passwd"}},
    "an endless wait": {"timeout_seconds": 1e300},
    "two questions for one answer": {"requests": ["1", "2"]},
}


@cases("members", SUSPENSIONS.values())
def test_an_unanswerable_await_fails_its_execution(claim: Claim, members: dict[str, Any]) -> None:
    bad = making.suspension(claim, **members)
    tasks.record(seal(identity(claim), OutcomeGroup(worker_id="w", outcomes=[bad]), key(claim.tenant)))
    execution = Execution.objects.get(pk=claim.execution_id)
    assert (execution.status, execution.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert AwaitUnit.objects.count() == 0

"""Refused messages: the log names the sender without trusting it, and the coordinator notifies its worker."""

import json
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from executions import tasks
from executions.workers import refusals
from tests import making
from tests.broker import taken
from tests.cases import cases
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat
from wire.messages.limits import TOLERANCE
from wire.messages.notices import LONGEST_BODY, refusal_of
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of
from wire.messages.sealing import MOST_BODY_VALUES, seal
from wire.worker_keys import WorkerKey, worker_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def identity() -> ReleaseIdentity:
    return ReleaseIdentity(making.tenant().slug, "p", "c", "r")


def heartbeat(identity: ReleaseIdentity, key: WorkerKey = making.WRONG_KEY) -> dict[str, Any]:
    return seal(identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), key)


def right_key(identity: ReleaseIdentity) -> WorkerKey:
    return worker_key(settings.WORKER_SECRET, identity.tenant_id)


def notices(identity: ReleaseIdentity) -> list[tuple[str, list[Any]]]:
    return taken(instruction_queue_of(identity, "w"))


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.name == "executions.workers.refusals"]


def test_the_log_and_the_notice_name_the_refused_heartbeat_and_the_reason(
    identity: ReleaseIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    message = heartbeat(identity)
    tasks.heartbeat(message)
    tasks.heartbeat(heartbeat(identity))
    first, _ = logged(caplog)
    assert first.startswith(f"Refused a heartbeat: KEY_NOT_ACTIVE: An envelope for {identity}")
    assert making.WRONG_KEY.key_id in first
    assert first.endswith(f"It names worker w of {identity}.")
    [(task, [notice])] = notices(identity)
    refusal = refusal_of(notice)
    assert refusal is not None
    assert (task, refusal.nonce, refusal.code) == (INSTRUCTION_TASK, message["nonce"], "KEY_NOT_ACTIVE")


def test_text_from_an_unknown_sender_is_cleaned_and_truncated(
    identity: ReleaseIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    """It may contain line breaks, which would forge lines of the log, or be very long."""
    name = "p\n2026-01-01 CRITICAL all is lost\x1b[2J\u202e" + "x" * 400
    tasks.heartbeat(heartbeat(ReleaseIdentity(identity.tenant_id, name, "c", "r")))
    [line] = logged(caplog)
    assert line.isprintable()
    assert "pipelineId=p\N{REPLACEMENT CHARACTER}2026-01-01 CRITICAL" in line
    assert len(line) < 1000


@cases(
    "broken",
    [
        *({"body": body} for body in ("no json", "[]", '{"workerId": 1}')),
        {"body": json.dumps({"workerId": "w\n2026-01-01 CRITICAL all is lost"})},
        {"body": json.dumps({"workerId": "w", "more": "x" * LONGEST_BODY})},
        {"body": json.dumps({"workerId": "w", "more": [0] * MOST_BODY_VALUES["heartbeat"]})},
        *({"nonce": ""}, {"tenantId": None}),
    ],
)
def test_the_refusal_of_a_message_without_a_sender_names_none(
    identity: ReleaseIdentity, broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    tasks.heartbeat(making.changed(heartbeat(identity), broken))
    [line] = logged(caplog)
    assert line.startswith("Refused a heartbeat: ")
    assert "It names" not in line
    assert notices(identity) == []


def test_the_notice_has_the_code_of_every_reason(identity: ReleaseIdentity) -> None:
    unknown = ReleaseIdentity("unknown", "p", "c", "r")
    long_ago = (timezone.now() - 2 * TOLERANCE).isoformat()
    key = right_key(identity)
    old = making.resealed(heartbeat(identity, key), key, timestamp=long_ago)
    newer = making.resealed(heartbeat(identity, key), key, body=json.dumps({"workerId": "w", "unheard": "of"}))
    for message, of, code in (
        (heartbeat(unknown, right_key(unknown)), unknown, "TENANT_UNKNOWN"),
        (old, identity, "TIMESTAMP_REFUSED"),
        (newer, identity, "ENVELOPE_MALFORMED"),
        ({**heartbeat(identity), "protocolVersion": "2"}, identity, "ENVELOPE_MALFORMED"),
    ):
        tasks.heartbeat(message)
        [(_, [notice])] = notices(of)
        assert notice == {"kind": "refusal", "nonce": message["nonce"], "code": code}


def test_many_refusals_of_one_tenant_or_none_hide_no_refusal_of_another(
    identity: ReleaseIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ReleaseIdentity(making.tenant("bad").slug, "p", "c", "r")
    for number in range(refusals.MOST_LINES + 10):
        tasks.heartbeat({**heartbeat(bad), "nonce": f"n{number}"})
        tasks.heartbeat(heartbeat(ReleaseIdentity(f"unknown-{number}", "p", "c", "r")))
    assert len(logged(caplog)) == 2 * refusals.MOST_LINES
    [(_, [notice])] = notices(bad)
    assert notice["nonce"] == "n0", "the worker still gets a notice"
    tasks.heartbeat(heartbeat(identity))
    assert logged(caplog)[-1].endswith(f"It names worker w of {identity}.")


def test_a_notice_replaces_no_instruction(identity: ReleaseIdentity) -> None:
    client.send_latest(INSTRUCTION_TASK, {"an": "instruction"}, queue=instruction_queue_of(identity, "w"), seconds=60)
    tasks.heartbeat(heartbeat(identity))
    assert notices(identity) == [(INSTRUCTION_TASK, [{"an": "instruction"}])]

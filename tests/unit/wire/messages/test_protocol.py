import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import sealed
from tests.cases import cases
from tests.raising import error_of
from tests.unit.wire.documents import examples
from wire.identity import ReleaseIdentity
from wire.messages import celery_messages, sealing
from wire.messages.queues import instruction_queue_of, queue_of
from wire.messages.sealing import ProtocolError, Verified, check_fresh, decode, seal, sender_of, verify
from wire.worker_keys import WorkerKey, worker_key

IDENTITY = ReleaseIdentity("acme", "org.x", "sha256:c", "1.0")
SECRET = "a secret of the coordinator"
KEY = worker_key(SECRET, "acme")
ID, TOKEN = uuid.UUID(int=1), uuid.UUID(int=2)

COMMANDS = celery_messages.CommandGroup(
    commands=[
        celery_messages.Command(
            execution_id=ID, current_step_index=0, stop_before_step_index=-1, attempt=2, result_shape="SINGLE",
            execution_version=5, transition_key="k", lease_token=TOKEN, lease_seconds=30, shape="UNI",
            payload='{"n": "é 😀"}',
        )
    ]
)  # fmt: skip
OUTCOMES = celery_messages.OutcomeGroup(
    worker_id="w",
    outcomes=[
        celery_messages.Outcome(
            execution_id=ID, execution_version=5, lease_token=TOKEN, transition_key="k", outcome="COMPLETED",
            output_payloads=["1", '"two"'],
        ),
        celery_messages.Outcome(
            execution_id=TOKEN, execution_version=1, lease_token=ID, transition_key="l", outcome="FAILED",
            failure=celery_messages.Failure(failure_class="E", message="é", retryable=True, step_index=3),
        ),
    ],
)  # fmt: skip
BEAT = celery_messages.Heartbeat(
    worker_id="w", state="HEALTHY", capacity=3, running=[celery_messages.HeldLease(execution_id=ID, lease_token=TOKEN)]
)
ORDER = celery_messages.Instruction(worker_id="w", drain=True)
BODIES = [COMMANDS, OUTCOMES, BEAT, ORDER]


SEALED = seal(IDENTITY, COMMANDS, KEY)
identities = st.builds(ReleaseIdentity, *[st.text(alphabet='ab,:"\\[] \n/é', max_size=4)] * 4)
OLD, NEW = (worker_key(SECRET, "acme", generation) for generation in (1, 2))
ROTATED = seal(IDENTITY, COMMANDS, NEW, OLD)
FIRST = "outcomes[0]"


def holding(key: WorkerKey) -> Callable[[str], list[WorkerKey]]:
    return lambda _: [key]


def keys_of(tenant_id: str) -> list[WorkerKey]:
    return [worker_key(SECRET, tenant_id)]


def refusal(message: Any, keys: Callable[[str], list[WorkerKey]] = keys_of) -> str:
    return error_of(ProtocolError, verify, message, keys).code


CHANGES: dict[str, Any] = {
    **{"kind": "outcomes", "tenantId": "other", "pipelineId": "org.y", "contractVersion": "sha256:d"},
    **{"releaseVersion": "1.1", "timestamp": "2020-01-01T00:00:00.000+00:00", "nonce": "another"},
    **{"encrypted": False, "body": "{}", "signature": "0" * 64},
}


def test_a_change_of_any_member_that_a_sender_chooses_breaks_the_signature() -> None:
    assert {"protocolVersion", "seals", "keyId", *CHANGES} == {*SEALED, *SEALED["seals"][0]}
    signatures = ["", "é" * 64, SEALED["seals"][0]["signature"].upper()]
    for member, value in (*CHANGES.items(), *product(["signature"], signatures)):
        other = sealed.changed(SEALED, {member: value})
        assert other != SEALED
        assert refusal(other, holding(KEY)) == "SIGNATURE_INVALID", member


WRONG_MEMBERS: list[dict[str, Any]] = [
    *({"extra": ""}, {"protocolVersion": "2"}, {"kind": "gossip"}, {"nonce": "n" * 101}),
    *({"pipelineId": "a\x00b"}, {"releaseVersion": "v" * 501}, {"seals": []}, {"seals": SEALED["seals"] * 9}),
]
WRONG_PARTS: list[tuple[str, Any]] = [("body", {}), ("body", "\ud800"), ("keyId", "k" * 41)]


@cases(
    "message",
    [
        None,
        [],
        {},
        *[
            {name: SEALED[name] for name in SEALED if name != member}
            for member in SEALED
            if member != "protocolVersion"
        ],
        *[{**SEALED, member: 1} for member in SEALED],
        *({**SEALED, **members} for members in WRONG_MEMBERS),
        *(sealed.changed(SEALED, {name: value}) for name, value in WRONG_PARTS),
    ],
)
def test_a_message_without_the_form_of_an_envelope_is_malformed(message: Any) -> None:
    assert refusal(message) == "ENVELOPE_MALFORMED"


def resealed(body: str, kind: str = "commands") -> Verified:
    """Return a signed envelope with any body, as a worker with a bug would send it."""
    return verify(sealed.resealed(SEALED, KEY, body=body, kind=kind), keys_of)


def changed(body: Any, field: str, value: Any) -> str:
    return json.dumps(examples.changed(json.loads(body.model_dump_json(by_alias=True)), field, value))


BROKEN: list[tuple[Any, str, list[Any]]] = [
    (COMMANDS, "commands[0].attempt", [-1, "2"]),
    (COMMANDS, "commands[0].payload", [...]),
    (COMMANDS, "commands", [[]]),
    (OUTCOMES, f"{FIRST}.outcome", ["MAYBE"]),
    (OUTCOMES, f"{FIRST}.executionVersion", [2**63, -1]),
    (OUTCOMES, f"{FIRST}.outputPayloads", [[1]]),
    (OUTCOMES, "workerId", ["a\x00b", "", "w" * 191]),
    (BEAT, "artifactDigest", ["d" * 501]),
    (BEAT, "capacity", [0, 10_001, 1.5]),
    (BEAT, "state", ["SLEEPY"]),
    (ORDER, "drain", ["true", ...]),
]


def test_a_body_with_very_many_members_is_refused() -> None:
    members = dict.fromkeys(map(str, range(sealing.MOST_BODY_MEMBERS)), 0)
    many = {**OUTCOMES.model_dump(mode="json", by_alias=True), **members}
    with pytest.raises(ProtocolError, match="contains more than 100,000 members"):
        decode(resealed(json.dumps(many), "outcomes"), celery_messages.OutcomeGroup)


@cases(
    ("kind", "body"),
    [
        *((COMMANDS, text) for text in ("not json", "[" * 100_000, "[]")),
        *((body, changed(body, field, value)) for body, field, values in BROKEN for value in values),
    ],
)
def test_a_body_in_another_form_is_malformed(kind: Any, body: str) -> None:
    envelope = resealed(body, sealing.KINDS[type(kind)])
    assert error_of(ProtocolError, decode, envelope, type(kind)).code == "ENVELOPE_MALFORMED"


@cases(("body", "field"), [(COMMANDS, "commands[0].added"), (OUTCOMES, f"{FIRST}.added"), (BEAT, "added")])
def test_a_member_that_a_newer_version_added_is_ignored(body: Any, field: str) -> None:
    newer = resealed(changed(body, field, {"any": ["value"]}), sealing.KINDS[type(body)])
    assert decode(newer, type(body)) == body


@cases("body", BODIES)
@cases("expected", sealing.KINDS)
def test_a_sealed_body_is_read_back_from_json_but_only_as_the_kind_in_its_header(body: Any, expected: Any) -> None:
    envelope = verify(json.loads(json.dumps(seal(IDENTITY, body, KEY))), keys_of)
    assert envelope.identity == IDENTITY
    if isinstance(body, expected):
        assert decode(envelope, expected) == body
        return
    with pytest.raises(ProtocolError, match="has the kind"):
        decode(envelope, expected)


@cases("offset", [timedelta(), celery_messages.TOLERANCE, -celery_messages.TOLERANCE])
def test_a_timestamp_within_the_tolerance_is_fresh(offset: timedelta) -> None:
    envelope = verify(seal(IDENTITY, BEAT, KEY), keys_of)
    sent = datetime.fromisoformat(envelope.envelope.timestamp)
    assert check_fresh(envelope, now=sent + offset) == sent


@cases(
    "timestamp", ["2026-01-01T00:02:00.001+00:00", "2025-12-31T23:57:59.999+00:00", "2026-01-01T00:00:00", "yesterday"]
)
def test_a_timestamp_of_another_time_or_without_a_zone_is_refused(timestamp: str) -> None:
    envelope = verify(sealed.resealed(SEALED, KEY, timestamp=timestamp), keys_of)
    refused = error_of(ProtocolError, check_fresh, envelope, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert refused.code == "TIMESTAMP_REFUSED"


@given(identities, identities, st.text(max_size=4), st.text(max_size=4))
def test_only_equal_ones_share_a_queue(
    identity: ReleaseIdentity, other: ReleaseIdentity, worker: str, second: str
) -> None:
    assert (queue_of(identity) == queue_of(other)) is (identity == other)
    equal = (identity, worker) == (other, second)
    assert (instruction_queue_of(identity, worker) == instruction_queue_of(other, second)) is equal


def test_the_queue_and_the_transition_key_never_change_between_versions_of_the_product() -> None:
    """Both sides of a running system compute them, so a change would strand running executions."""
    queue = "tenant.eb737e40d6ac063f0352520f443534d3.release.9ecc42a66887b6e9d11e46aab5fc6abb732ff22a"
    assert queue_of(IDENTITY) == queue
    assert celery_messages.transition_key(ID, 3, 2) == "00000000-0000-0000-0000-000000000001:3:2"


@cases("member", ["keyId", "body", "signature"])
def test_a_message_has_a_seal_for_each_key_whose_members_are_invalid_in_another(member: str) -> None:
    new, old = ROTATED["seals"]
    exchanged = {**ROTATED, "seals": [{**new, member: old[member]}, {**old, member: new[member]}]}
    for key in (OLD, NEW):
        assert decode(verify(ROTATED, holding(key)), celery_messages.CommandGroup) == COMMANDS
        with pytest.raises(ProtocolError, match="is wrong"):
            verify(exchanged, holding(key))


@cases("body", [COMMANDS, BEAT])
@cases(("member", "place"), [("signature", 0), ("signature", 63), ("body", 0), ("body", -2)])
def test_every_character_of_a_body_and_a_signature_counts(body: Any, member: str, place: int) -> None:
    message = seal(IDENTITY, body, KEY)
    text = [*message["seals"][0][member]]
    text[place] = "0" if text[place] != "0" else "1"
    assert refusal(sealed.changed(message, {member: "".join(text)})) == "SIGNATURE_INVALID"
    assert refusal(sealed.changed(message, {"signature": message["seals"][0]["signature"][:63]})) == "SIGNATURE_INVALID"


def test_a_large_body_is_not_read_before_its_signature_is_verified() -> None:
    message = seal(IDENTITY, BEAT, KEY)
    sender = sender_of(message)
    assert sender is not None
    assert (sender.worker_id, sender.identity) == ("w", IDENTITY)
    body = json.dumps({"workerId": "w", "more": "x" * sealing.LONGEST_BODY})
    assert sender_of({**message, "seals": [{**message["seals"][0], "body": body}]}) is None

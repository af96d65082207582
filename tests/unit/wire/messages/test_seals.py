"""Each seal of a message is valid only with its own key. Parts of different seals cannot be exchanged."""

from functools import partial
from typing import Any

import pytest

from executions.awaits.webhooks import signature, webhook_keys
from tests.cases import cases
from tests.unit.wire.messages.test_protocol import COMMANDS
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import CommandGroup, Heartbeat
from wire.messages.sealing import ProtocolError, decode, seal, verify
from wire.worker_keys import WorkerKey, worker_key

IDENTITY = ReleaseIdentity("acme", "org.x", "sha256:c", "1.0")
OLD, NEW, OTHER = (
    worker_key("a secret", tenant, number) for tenant, number in (("acme", 1), ("acme", 2), ("other", 1))
)
BEAT = Heartbeat(worker_id="w", state="HEALTHY", capacity=3)
MESSAGES = {"encrypted": seal(IDENTITY, COMMANDS, NEW, OLD), "plain": seal(IDENTITY, BEAT, NEW, OLD)}
BODIES: dict[str, Any] = {"encrypted": CommandGroup, "plain": Heartbeat}


def keys_of(key: WorkerKey, _tenant: str) -> list[WorkerKey]:
    return [key]


def refusal(message: Any, *keys: Any) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(verify(message, lambda _: keys), BODIES["encrypted" if message["kind"] == "commands" else "plain"])
    return caught.value.code


def test_a_message_is_read_with_any_of_its_keys() -> None:
    for kind, message in MESSAGES.items():
        read = [decode(verify(message, partial(keys_of, key)), BODIES[kind]) for key in (OLD, NEW)]
        assert read[0] == read[1] in (COMMANDS, BEAT)
        assert refusal(message, OTHER) == "KEY_NOT_ACTIVE"


def with_seal(message: dict[str, Any], place: int, **members: str) -> dict[str, Any]:
    seals = [{**each, **members} if number == place else each for number, each in enumerate(message["seals"])]
    return {**message, "seals": seals}


@cases("member", ["keyId", "body", "signature"])
def test_a_member_of_one_seal_is_invalid_in_another(member: str) -> None:
    message = MESSAGES["encrypted"]
    new, old = message["seals"]
    exchanged = with_seal(with_seal(message, 0, **{member: old[member]}), 1, **{member: new[member]})
    for key in (OLD, NEW):
        assert refusal(exchanged, key) == "SIGNATURE_INVALID"


@cases("message", MESSAGES.values())
@cases(("member", "places"), [("signature", [0, 63]), ("body", [0, -2])])
def test_every_character_of_a_body_and_a_signature_counts(message: Any, member: str, places: Any) -> None:
    for place in places:
        text = list(message["seals"][0][member])
        text[place] = "0" if text[place] != "0" else "1"
        assert refusal(with_seal(message, 0, **{member: "".join(text)}), NEW) == "SIGNATURE_INVALID"


def test_a_part_of_a_signature_is_invalid() -> None:
    short = with_seal(MESSAGES["plain"], 0, signature=MESSAGES["plain"]["seals"][0]["signature"][:63])
    assert refusal(short, NEW) == "SIGNATURE_INVALID"


SIGNED = ("key", 1_700_000_000, b'{"a": 1}')


@cases(
    "other",
    [
        ("Key", *SIGNED[1:]),
        ("key", 1_700_000_001, SIGNED[2]),
        ("key", 1_700_000_000, b'{"a": 2}'),
        ("key", 170_000_000, b'0.{"a": 1}'),
    ],
)
def test_the_signature_of_a_webhook_covers_key_time_and_body(other: tuple[str, int, bytes]) -> None:
    def made(key: str, moment: int, body: bytes) -> str:
        return signature([key], moment, body).partition(",")[2]

    assert made(*SIGNED).startswith("v1=")
    assert made(*SIGNED) != made(*other)


def test_each_tenant_signs_its_webhooks_with_separate_keys() -> None:
    assert set(webhook_keys("acme")).isdisjoint(webhook_keys("other"))
    assert set(webhook_keys("acme")).isdisjoint(webhook_keys("acme2"))

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.worker import host_state
from pipelines.worker.host import Host
from pipelines.worker.host_state import REFUSALS
from tests.sealed import changed, resealed
from tests.unit.pipelines.worker.conftest import Hosted, command, heartbeat, sealed
from wire.messages.celery_messages import TOLERANCE, Instruction
from wire.messages.sealing import Refusal, RefusalCode, seal
from wire.worker_keys import worker_key

SECOND = timedelta(seconds=1)
OLDEST = TOLERANCE + 10 * SECOND


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def instruction(host: Host, *, drain: bool, sent: datetime | None = None, **members: Any) -> dict[str, Any]:
    body = Instruction(**{"worker_id": "w", "drain": drain, **members})
    message = seal(host.release.identity, body, Hosted.key)
    return resealed(message, Hosted.key, timestamp=sent.isoformat()) if sent else message


def ignored(host: Host, message: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return the code with which the host ignores `message`. Nothing else must change."""
    before = host.accepting
    host.changed.clear()
    caplog.clear()
    host.follow(message)
    assert host.accepting is before
    assert not host.changed.is_set()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    return str(record.args[0]) if isinstance(record.args, tuple) else ""


@pytest.mark.usefixtures("spoiled_log")
def test_it_drains_and_accepts_again_as_instructed_and_reports_it_at_once(now: datetime, host: Host) -> None:
    assert (host.accepting, heartbeat(host).taking) == (False, False)
    for second, drain in enumerate([False, True, False, True, True, False]):
        host.changed.clear()
        host.follow(instruction(host, drain=drain, sent=now + second * SECOND))
        assert heartbeat(host).taking is host.accepting is not drain
        assert host.changed.is_set()


def test_only_its_fresh_signed_instructions_count(host: Host, caplog: pytest.LogCaptureFixture, now: datetime) -> None:
    ours, body = host.release.identity, Instruction(worker_id="w", drain=False)
    wrong_order = changed(instruction(host, drain=True), {"body": '{"workerId":"w","drain":false}'})
    late, early = (instruction(host, drain=False, sent=now + age) for age in (-OLDEST, OLDEST))
    for message, code in (
        (seal(ours, body, worker_key("a secret", "other")), "KEY_NOT_ACTIVE"),
        (wrong_order, "SIGNATURE_INVALID"),
        (seal(replace(ours, release_version="elsewhere"), body, Hosted.key), "ORDER_MISDIRECTED"),
        (instruction(host, drain=False, worker_id="v"), "ORDER_MISDIRECTED"),
        (late, "TIMESTAMP_REFUSED"),
        (early, "TIMESTAMP_REFUSED"),
        (sealed(host, command()), "ENVELOPE_MALFORMED"),
        (None, "ENVELOPE_MALFORMED"),
    ):
        assert ignored(host, message, caplog) == code


def test_instructions_are_followed_once_in_order(now: datetime, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    forged = resealed(instruction(host, drain=True), worker_key("a secret", "other"), timestamp=now.isoformat())
    assert ignored(host, forged, caplog) == "KEY_NOT_ACTIVE"  # and it does not outdate the older one that follows
    first, second = instruction(host, drain=False, sent=now - SECOND), instruction(host, drain=True, sent=now)
    host.follow(first)
    assert host.accepting
    host.follow(second)
    outdated = [instruction(host, drain=False, sent=at) for at in (now, now - SECOND)]
    for message in (first, second, *outdated):
        assert ignored(host, message, caplog) == "ORDER_OUTDATED"
    host.follow(instruction(host, drain=False, sent=now + SECOND))
    assert host.accepting


def test_it_says_once_why_it_gets_no_work(now: datetime, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    for second, reason in enumerate(["RELEASE_UNKNOWN", "RELEASE_UNKNOWN", None, "A_LATER_REASON", "OTHER_ARTIFACT"]):
        host.follow(instruction(host, drain=False, sent=now + second * SECOND, ineligible_reason=reason))
    unknown, other = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert f"does not know release {host.release.identity.release_version} of" in unknown
    assert "publish it with pipelines publish" in unknown
    assert "registered with another artifact" in other
    assert host.accepting


def refuse(host: Host, nonce: str = "", code: RefusalCode = "SIGNATURE_INVALID") -> None:
    host.follow(Refusal(nonce=nonce or heartbeat_nonce(host), code=code).model_dump(by_alias=True))


def heartbeat_nonce(host: Host) -> str:
    return str(host.heartbeat("HEALTHY")["nonce"])


def test_a_worker_that_is_refused_repeatedly_reports_the_reason(host: Host) -> None:
    for _ in range(REFUSALS):
        assert host.acceptance.refusal is None
        refuse(host, "made up")
        refuse(host, code="KEY_NOT_ACTIVE")
    assert host.acceptance.refusal is not None
    assert host.acceptance.refusal.startswith("KEY_NOT_ACTIVE: ")
    assert not host.accepting


def test_a_refusal_must_quote_a_recent_heartbeat_and_counts_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    nonce = heartbeat_nonce(host)
    for _ in range(REFUSALS * 2):
        refuse(host, nonce)
        refuse(host, "made up")
    nonces = [heartbeat_nonce(host) for _ in range(REFUSALS)]
    monkeypatch.setattr(host_state, "RECENT_SECONDS", -1.0)
    for nonce in nonces:
        refuse(host, nonce)
    assert host.acceptance.refusal is None


def test_an_accepted_worker_whose_key_is_revoked_accepts_no_commands_until_it_is_accepted_again(host: Host) -> None:
    refuse(host)
    host.follow(instruction(host, drain=False))
    for _ in range(REFUSALS * 2):
        refuse(host)
    assert (host.acceptance.refusal, host.accepting) == (None, True), "one coordinator accepts it"
    for _ in range(REFUSALS * 2):
        heartbeat_nonce(host)
        refuse(host, code="KEY_NOT_ACTIVE")
    assert host.accepting, "only refusals of consecutive heartbeats count"
    heartbeat_nonce(host)
    for _ in range(REFUSALS):
        assert host.accepting
        refuse(host, code="KEY_NOT_ACTIVE")
    assert not host.accepting
    assert host.acceptance.refusal is None
    # The next heartbeat reports this, so a coordinator with the key sends an instruction.
    assert not heartbeat(host).taking
    host.follow(instruction(host, drain=False, sent=datetime.now(UTC) + SECOND))
    assert host.accepting

"""A worker distinguishes acceptance, refusal and silence. No unsigned message stops an accepted worker."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.worker import acceptance
from pipelines.worker.acceptance import REFUSALS
from pipelines.worker.host import Host
from tests import making
from tests.unit.pipelines.worker.conftest import Hosted, heartbeat
from wire.messages.celery_messages import Instruction
from wire.messages.notices import Refusal, RefusalCode
from wire.messages.sealing import seal


def refuse(host: Host, nonce: str = "", code: RefusalCode = "SIGNATURE_INVALID") -> None:
    """Refuse the heartbeat with the nonce, by default a new one."""
    host.follow(Refusal(nonce=nonce or heartbeat_nonce(host), code=code).model_dump(by_alias=True))


def heartbeat_nonce(host: Host) -> str:
    return str(host.heartbeat("HEALTHY")["nonce"])


def accept(host: Host, later: timedelta = timedelta()) -> None:
    message = seal(host.release.identity, Instruction(worker_id="w", drain=False), Hosted.key)
    host.follow(making.resealed(message, Hosted.key, timestamp=(datetime.now(UTC) + later).isoformat()))


def test_a_worker_that_is_refused_repeatedly_reports_the_reason(host: Host) -> None:
    """Forged refusals between the genuine ones neither count nor interrupt."""
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
    monkeypatch.setattr(acceptance, "RECENT_SECONDS", -1.0)
    for nonce in nonces:
        refuse(host, nonce)
    assert host.acceptance.refusal is None


def test_a_worker_that_one_coordinator_accepts_continues(host: Host) -> None:
    refuse(host)
    accept(host)
    for _ in range(REFUSALS * 2):
        refuse(host)
    assert host.acceptance.refusal is None
    assert host.accepting


def test_an_accepted_worker_whose_key_is_revoked_accepts_no_commands_until_it_is_accepted_again(host: Host) -> None:
    accept(host)
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
    accept(host, later=timedelta(seconds=1))
    assert host.accepting

import itertools
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from redis import Redis

from embedded.valkey import Valkey
from executions.lifecycle import dispatch, sweep
from executions.lifecycle.interventions import redrive
from executions.models import Execution, Worker
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import using_broker
from tests.building import eventually
from tests.concurrency import scenes
from tests.concurrency.sessions import another_session, ended_after, parted, race, results_of, thread, until_blocked
from tests.governance.campaigns.campaigning import codes, pass_time
from tests.raw_sql import run
from tests.repetition import rounds
from wire.messages.queues import COORDINATOR

ROUNDS = rounds(5)


def ready() -> Tenant:
    owner, _ = making.ready()
    Worker.objects.filter(tenant=owner).update(capacity=1_000)
    return owner


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_submissions_of_a_key_make_one_execution_and_conflicts_with_its_input(_: int) -> None:
    owner = ready()
    won, lost = parted(race(*[partial(making.submitted, owner, "k", {"n": number}) for number in (1, 2) * 3]))
    assert len({submission.execution.pk for submission in won}) == 1
    assert sorted(submission.duplicate for submission in won) == [False, True, True]
    assert lost == ["IdempotencyKeyReused"] * 3
    assert making.history(Execution.objects.get()) == [("SUBMITTED", "QUEUED")]


def test_concurrent_claims_never_claim_the_same_execution() -> None:
    owner = ready()
    for number in range(60):
        making.execution(owner, f"k{number}")
    claims: list[Claim] = []
    while got := list(itertools.chain(*results_of(race(*[partial(making.claimed, owner, limit=7)] * 4)))):
        claims += got
    assert len(claims) == 60
    assert len({claim.execution_id for claim in claims}) == len({claim.lease_token for claim in claims}) == 60
    for execution in Execution.objects.all():
        assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING")]


def test_a_claim_skips_a_release_that_another_claim_has_locked() -> None:
    owner, first = ready(), Release.objects.get()
    for number in range(5):
        making.execution(owner, f"k{number}")

    def claim_meanwhile() -> tuple[list[Claim], Execution, list[Claim]]:
        skipped = making.claimed(owner)
        making.worker(making.active(owner, "2.0"), "worker-2")
        return skipped, making.execution(owner, "of another release"), making.claimed(owner)

    with thread() as other, transaction.atomic():
        assert len(making.claimed(owner, limit=3)) == 3
        skipped, due, claims = other.submit(claim_meanwhile).result(30)
        transaction.set_rollback(True)
    assert (skipped, [claim.execution_id for claim in claims]) == ([], [due.pk])
    left = {claim.execution_id for claim in making.claimed(owner)}
    assert left == set(Execution.objects.filter(release=first).values_list("pk", flat=True))


def recording(claim: Claim) -> Any:
    return partial(making.record, making.outcome_of(claim))


@pytest.mark.parametrize("_", rounds(10))
def test_a_late_outcome_is_recorded_before_or_after_the_sweep_of_its_lease(_: int) -> None:
    owner = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    recorded, expired = results_of(race(recording(claim), sweep.expire_leases))
    kinds = [kind for kind, _ in making.history(execution)][2:]
    assert recorded, "no other process has recorded one"
    assert (expired, kinds[:-1]) in [(0, []), (1, ["LEASE_EXPIRED", "LEASE_RESTORED"])]
    assert (execution.status, kinds[-1]) == ("SUCCEEDED", "SUCCEEDED")


@pytest.mark.parametrize("_", ROUNDS)
def test_of_concurrent_outcomes_of_a_late_claim_and_of_the_next_one_one_is_recorded(_: int) -> None:
    owner = ready()
    execution = making.execution(owner)
    [late] = making.claimed(owner)
    making.lose_lease(late)
    [current] = making.claimed(owner)
    recorded = results_of(race(*[recording(claim) for claim in (late, current, current)]))
    assert sorted(recorded) == [0, 0, 1]
    kinds = making.kinds(execution)
    assert (kinds.count("SUCCEEDED"), kinds.count("OUTCOME_DROPPED")) == (1, 2)


@pytest.mark.parametrize("_", rounds(10))
def test_a_lease_is_either_renewed_or_expired(_: int) -> None:
    owner = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    held = [(claim.execution_id, claim.lease_token)]
    renew = partial(moves.renew_leases, owner.pk, held, worker_id="w", lease_seconds=60)
    renewed, expired = results_of(race(lambda: len(renew()), sweep.expire_leases))
    assert renewed + expired == 1
    assert making.reread(execution).status == ("RUNNING" if renewed else "QUEUED")


def test_a_command_that_the_broker_rejects_late_does_not_release_a_newer_claim(tmp_path: Path) -> None:
    owner = ready()
    execution = making.execution(owner)
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url), thread() as other:
        with Redis.from_url(server.owner_url) as broker:
            broker.execute_command("ACL", "SETUSER", COORDINATOR, "-lpush")
            broker.client_pause(20_000, all=False)
            sending = other.submit(dispatch.dispatch)
            eventually(lambda: Execution.objects.get(pk=execution.pk).status == "RUNNING", what="the claim")
            Execution.objects.filter(pk=execution.pk).update(lease_expires_at=making.LONG_AGO)
            assert sweep.expire_leases() == 1
            [claim] = making.claimed(owner)
            broker.client_unpause()
        assert sending.result(30) == 0
    assert (making.reread(execution).status, execution.lease_token) == ("RUNNING", claim.lease_token)


def test_events_are_in_the_order_of_their_times_even_if_an_outcome_waited() -> None:
    """The outcome of the second execution begins before its checkpoint, and waits for the first execution."""
    claims = sorted(scenes.running(ready(), 2), key=lambda claim: claim.execution_id)
    first, second = scenes.executions()
    lock_first = partial(Execution.objects.select_for_update().get, pk=first.pk)
    end = partial(making.record, *map(making.outcome_of, claims))
    keep = partial(making.record, checkpoints=[scenes.checkpoint(claims[1])])
    assert ended_after(lock_first, end, lambda: results_of(race(keep))).result() == 2
    events = list(second.events.order_by("at", "sequence"))
    assert [event.kind for event in events[-2:]] == ["CHECKPOINT", "SUCCEEDED"]


def test_a_campaign_locks_no_execution_and_skips_one_that_changes_while_it_selects() -> None:
    owner, [changed, *_] = scenes.dead()
    slow = Execution.objects.extra(where=["pg_advisory_xact_lock_shared(1)::text = ''"])
    members: dict[str, Any] = {"chosen": slow, "reason": "x", "rate_per_minute": 600, "actor": "user:x"}
    with another_session() as session, thread() as other:
        session.execute("SELECT pg_advisory_xact_lock(1)")
        starting = other.submit(campaigns.start, owner, Filters(), **members)
        until_blocked(session, ended=starting.done)
        redrive(owner, changed.pk, actor="user:bob", reason="")
        session.rollback()
        made = starting.result(30)
    pass_time(60)
    assert campaigns.advance() == 2
    assert [*codes(made).values()] == ["REDRIVE_REFUSED"]


# --- capacity and quotas ---


@pytest.mark.parametrize("_", rounds(5))
def test_concurrent_claims_respect_the_capacity(_: int) -> None:
    owner, release = making.ready()
    Worker.objects.update(capacity=3)
    checked = {"capability_checked_at": timezone.now() + timedelta(hours=1), "alive_until": None}
    rest = making.worker(release, "rest-1", capacity=2, protocol="rest", **checked)
    for number in range(20):
        making.execution(owner, f"k{number}")
    results_of(race(*[partial(making.claimed, owner)] * 6))
    held = Counter(Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True))
    assert held == {"dispatcher": 3, rest.eligibility.lease_owner: 2}, "none has ended, so this was the maximum"


def test_a_claim_repeats_after_a_concurrent_claim_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other claim began too early to see the due execution. It ends during the first pause."""
    owner, release = making.ready()
    due = making.execution(owner)
    with another_session() as other:
        other.execute("SELECT count_running_for_claim(%s, NULL)", [release.pk])
        monkeypatch.setattr(time, "sleep", lambda _: other.rollback())
        assert [claim.execution_id for claim in making.claimed(owner)] == [due.pk]


def test_a_stalled_claim_under_a_quota_blocks_no_other_claim() -> None:
    owner, _ = making.ready()
    for number in range(3):
        making.execution(owner, f"k{number}")

    def claim() -> tuple[list[moves.Claim], bool]:
        run("SET statement_timeout = '5s'")
        return moves.claim(owner="another", limit=100, lease_seconds=30, quota=2)

    with transaction.atomic():
        assert len(making.claimed(owner, limit=1, quota=2)) == 1
        assert results_of(race(claim)) == [([], True)]
    [(claims, _)] = results_of(race(claim))
    assert len(claims) == 1

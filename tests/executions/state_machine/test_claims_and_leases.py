import secrets
import uuid
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from executions.lifecycle.interventions import cancel
from executions.models import Execution, Worker
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.state_machine.statements import CLAIM, FAIR_SHARE, ROOM
from governance.retirement.retirement import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.moments import now

LONG_AGO = timezone.now() - timedelta(days=1)


def submitted(owner: Tenant, count: int = 1) -> list[Execution]:
    made = [making.execution(owner, f"k{number}") for number in range(count)]
    for number, execution in enumerate(made):
        Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO + timedelta(seconds=number))
    return made


def counts(owner: Tenant, times: int, limit: int = 100) -> list[int]:
    return [len(making.claimed(owner, limit=limit)) for _ in range(times)]


def test_a_claim_takes_the_lease_and_has_the_data_of_the_command(owner: Tenant, release: Release) -> None:
    [execution] = submitted(owner)
    [claim] = making.claimed(owner, lease_seconds=30)
    assert (making.reread(execution).status, execution.version, execution.attempt) == ("RUNNING", 1, 0)
    assert (execution.lease_owner, execution.lease_token) == ("dispatcher", claim.lease_token)
    assert (claim.execution_id, claim.version, claim.step_index, claim.attempt) == (execution.pk, 1, 0, 0)
    pin = (claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)
    assert pin == (owner.slug, making.PIPELINE, release.contract_version, "1.0")
    assert (claim.input, claim.input_shape, claim.result_shape) == ('{"n": 1}', "UNI", "SINGLE")
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING")]
    assert execution.events.get(kind="CLAIMED").data == {"attempt": 0, "stepIndex": 0}
    assert making.claimed(owner) == []


def test_no_more_is_claimed_than_eligible_workers_have_free_places(owner: Tenant, release: Release) -> None:
    other, _ = making.ready()
    Worker.objects.filter(tenant=other).update(capacity=100)
    Worker.objects.filter(tenant=owner).update(capacity=2)
    making.worker(release, "second", capacity=1)
    making.worker(release, "gone", capacity=100, stopped_at=timezone.now())
    submitted(owner, 5)
    assert counts(owner, 2) == [3, 0]
    Worker.objects.filter(worker_id="second").update(stopped_at=timezone.now())
    assert counts(owner, 1) == [0], "fewer places than running executions are no error"
    making.worker(release, "third", capacity=2)
    assert counts(owner, 1) == [1]


@cases("drain", ["draining_since", "drained_by_operator_at"])
def test_work_of_a_draining_worker_takes_no_place_of_other_workers(owner: Tenant, release: Release, drain: str) -> None:
    Worker.objects.update(capacity=2)
    making.worker(release, "worker-2", capacity=2)
    submitted(owner, 6)
    held = making.claimed(owner, limit=2)
    leases = [(claim.execution_id, claim.lease_token) for claim in held]
    moves.renew_leases(owner.pk, leases, worker_id="worker-1", lease_seconds=30)
    Worker.objects.filter(worker_id="worker-1").update(**{drain: timezone.now()})
    assert counts(owner, 2) == [2, 0]
    # When its work is done, the other workers still have only their own places.
    assert making.record(*map(making.outcome_of, held)) == 2
    assert making.claimed(owner) == []


def test_the_limit_bounds_one_claim_and_what_was_due_first_is_claimed_first(owner: Tenant) -> None:
    made = submitted(owner, 5)
    Execution.objects.filter(pk=made[3].pk).update(next_due_at=LONG_AGO - timedelta(days=1))
    Execution.objects.filter(pk=made[4].pk).update(next_due_at=timezone.now() + timedelta(hours=1))
    claims = [making.claimed(owner, limit=2) for _ in range(3)]
    ids = [[claim.execution_id for claim in group] for group in claims]
    assert ids == [[made[3].pk, made[0].pk], [made[1].pk, made[2].pk], []]


def test_each_execution_is_claimed_for_its_pinned_release_even_if_another_is_active(owner: Tenant) -> None:
    on_v1 = making.execution(owner, "first")
    making.worker(making.active(owner, "2.0"), "worker-2")
    on_v2 = making.execution(owner, "second")
    revoke(on_v1.release, actor="user:test", reason="leaked")
    pins = {claim.execution_id: claim.release_version for claim in making.claimed(owner)}
    assert pins == {on_v1.pk: "1.0", on_v2.pk: "2.0"}


def test_a_claim_is_limited_in_bytes_and_reports_that_more_is_due(owner: Tenant) -> None:
    [first] = submitted(owner)
    making.copies(first, 3, input={"text": secrets.token_hex(2 * 1024**2)})
    Worker.objects.update(capacity=100)
    sizes, more = [], True
    while more:
        claims, more = moves.claim(owner="dispatcher", limit=100, lease_seconds=30)
        sizes.append(sum(len(claim.input) for claim in claims))
    assert sum(sizes) > 12 * 1024**2
    assert max(sizes) < 2 * moves.MOST_BYTES + 1024
    assert not Execution.objects.filter(status="QUEUED").exists()


def busy(owner: Tenant, name: str, count: int) -> None:
    """Make a release whose worker has `count` executions to run, which have been due for long."""
    making.worker(making.active(owner, pipeline_id=name), capacity=10_000)
    made = making.execution(owner, f"of-{name}", pipeline_id=name)
    making.copies(made, count - 1, next_due_at=making.LONG_AGO)


def shares(limit: int) -> Counter[tuple[str, str]]:
    claims, _ = moves.claim(owner="dispatcher", limit=limit, lease_seconds=30)
    return Counter((claim.tenant, claim.pipeline_id) for claim in claims)


@cases(
    ("threads", "seconds", "calls", "running", "free"),
    [(4, None, False, 1, [3]), (4, 2.0, False, 4, []), (4, 0.001, False, 0, [1_600]), (4, 0.0, False, 0, [2_000])]
    + [(4, 0.001, False, running, free) for running, free in ((3, [1_597]), (1_200, [400]), (1_201, []))]
    + [(4, 0.001, True, 0, [4]), (4, 0.001, True, 4, [])],
)
def test_the_room_of_threads(threads: int, seconds: float | None, calls: bool, running: int, free: list[int]) -> None:
    counted = """WITH counted AS (SELECT 1 AS tenant_id, %(threads)s AS threads, %(calls)s AS calls,
        ARRAY['gone'] AS idle, %(seconds)s::float AS seconds,
        jsonb_build_object('w', %(running)s, 'gone', 9) AS held)"""
    measured = {"threads": threads, "seconds": seconds, "calls": calls, "running": running, "span": 0.4, "most": 500}
    with connection.cursor() as cursor:
        cursor.execute(f"{counted}, {ROOM} SELECT free FROM ready", measured)
        assert [count for (count,) in cursor.fetchall()] == free


@cases(("limit", "shares"), [(100, [40, 8, 16, 16]), (8, [4, 1, 1, 1]), (1, [1, 1, 1, 1]), (1_000, [40, 8, 30, 30])])
def test_tenants_share_a_claim_evenly_and_their_releases_divide_the_share(limit: int, shares: list[int]) -> None:
    ready = """WITH ready(release_id, tenant_id, free, releases, threads, seconds, calls) AS (VALUES
        (1, 1, 40, 1, 1, 1, false), (2, 2, 8, 3, 1, 1, false), (3, 2, 30, 3, 1, 1, false),
        (4, 2, 30, 3, 1, 1, false))"""
    with connection.cursor() as cursor:
        cursor.execute(f"{ready}, {FAIR_SHARE} SELECT release_id, share FROM fair", {"limit": limit, "quota": 0})
        rows = cursor.fetchall()
    assert (rows[0], sorted(rows)) == ((1, shares[0]), [*enumerate(shares, start=1)])


def test_the_next_claim_includes_a_small_pipeline_of_a_tenant_with_a_large_backlog() -> None:
    owner = making.tenant()
    busy(owner, "busy", 300)
    making.worker(making.active(owner, pipeline_id="trickle"))
    for number in range(5):
        making.execution(owner, f"t{number}", pipeline_id="trickle")
        assert shares(100) == {(owner.slug, "busy"): 50, (owner.slug, "trickle"): 1}


def test_a_claim_reads_no_worker_if_nothing_is_due(owner: Tenant, release: Release) -> None:
    for number in range(100):
        making.worker(release, f"w{number}")
    busy(owner, "later", 100)
    Execution.objects.update(next_due_at=timezone.now() + timedelta(hours=1))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE executions_worker, executions_execution")
        parameters = dict.fromkeys(("limit", "lease", "call", "span", "most", "bytes"), 100)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}", {"owner": "w", "quota": 0, **parameters})
        [[[explained]]] = cursor.fetchall()
    plan = explained["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


@pytest.fixture
def pinned(owner: Tenant) -> list[Execution]:
    """Executions of 17 releases. Only the first and the last have a worker."""
    made = [making.execution(owner, "on 1.0")]
    for number in range(16):
        making.worker(making.active(owner, f"2.{number}"), f"of 2.{number}")
        made.append(making.execution(owner, f"on 2.{number}"))
    Worker.objects.exclude(release_version__in=["1.0", "2.15"]).update(stopped_at=timezone.now())
    return made


@cases("cancelled", [0, 1, 15])
def test_work_without_workers_stays_and_hides_no_other(owner: Tenant, pinned: list[Execution], cancelled: int) -> None:
    for execution in pinned[1 : 1 + cancelled]:
        cancel(owner, execution.pk, actor="user:test", reason="")
    assert {claim.execution_id for claim in making.claimed(owner)} == {pinned[0].pk, pinned[-1].pk}
    assert Execution.objects.filter(status="QUEUED", version=0).count() == 15 - cancelled


def row() -> Execution:
    return Execution.objects.select_related("tenant").get()


def let_expire() -> None:
    Execution.objects.update(lease_expires_at=making.LONG_AGO)


def expire(limit: int = 1_000) -> int:
    return len(moves.expire_leases(actor="sweep", limit=limit, most_takeovers=10, lease_seconds=30))


def renew(claim: Claim, *, tenant: int | None = None, running: float | None = None, worker: str = "w") -> bool:
    seconds = {} if running is None else {claim.lease_token: running}
    held = [(claim.execution_id, claim.lease_token)]
    tenant = tenant or row().tenant_id
    renewed = moves.renew_leases(tenant, held, worker_id=worker, lease_seconds=3600, running=seconds)
    assert renewed <= {claim.lease_token}
    return bool(renewed)


def test_an_expired_lease_queues_the_execution_again_under_the_same_key_once(owner: Tenant, claim: Claim) -> None:
    let_expire()
    Execution.objects.update(next_due_at=making.LONG_AGO)
    assert [expire(), expire()] == [1, 0]
    execution = row()
    assert (execution.version, execution.attempt, execution.next_due_at) == (2, 0, now())
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    assert making.history(execution)[-1] == ("LEASE_EXPIRED", "QUEUED")
    event = execution.events.get(kind="LEASE_EXPIRED")
    assert (event.actor, event.data) == ("sweep", {"leaseOwner": "dispatcher", "takeovers": 1})
    [again] = making.claimed(owner)
    assert (again.attempt, again.step_index, again.version) == (claim.attempt, claim.step_index, claim.version + 2)
    assert again.lease_token != claim.lease_token
    assert [renew(claim), renew(again), renew(claim)] == [False, True, False], "a lost lease is not renewed"


def test_an_expired_lease_does_not_change_the_last_error(owner: Tenant, claim: Claim) -> None:
    making.record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [again] = making.claimed(owner)
    renew(again)
    let_expire()
    assert expire() == 1
    assert (row().status, row().error_code, row().error_message) == ("QUEUED", "SomeError", "why")
    lost = row().events.get(kind="LEASE_EXPIRED").data
    assert (lost["leaseOwner"], lost["worker"]) == ("worker:w", "w"), "the event names the worker that lost it"


def test_a_sweep_is_bounded_and_takes_the_oldest_first(owner: Tenant) -> None:
    made = submitted(owner, 3)
    making.claimed(owner)
    for days, execution in enumerate(made):
        Execution.objects.filter(pk=execution.pk).update(lease_expires_at=making.LONG_AGO - timedelta(days=days))
    for states in (["RUNNING", "RUNNING", "QUEUED"], ["RUNNING", "QUEUED", "QUEUED"]):
        assert expire(limit=1) == 1
        assert [making.reread(execution).status for execution in made] == states


def test_only_the_first_worker_that_names_a_lease_renews_it(claim: Claim) -> None:
    before = row().lease_expires_at
    other = (claim.execution_id, uuid.uuid4())
    assert moves.renew_leases(row().tenant_id, [other], worker_id="w", lease_seconds=60) == set()
    assert not renew(claim, tenant=making.tenant().pk)
    assert row().lease_expires_at == before
    assert [renew(claim, worker=worker) for worker in ("w", "v", "w")] == [True, False, True]
    assert row().lease_owner == "worker:w"
    held = [(claim.execution_id, claim.lease_token), other]
    for pairs in (held, held[::-1]):
        assert moves.renew_leases(row().tenant_id, pairs, worker_id="w", lease_seconds=60) == {claim.lease_token}
    assert moves.renew_leases(row().tenant_id, [], worker_id="w", lease_seconds=60) == set()
    assert moves.apply([]) == []


@cases("end", ["lost", "outcome"])
def test_only_what_a_thread_has_started_runs_and_nothing_runs_without_a_lease(claim: Claim, end: str) -> None:
    assert (row().status, row().running_since) == ("RUNNING", None)
    renew(claim)
    assert (row().running_since, row().lease_expires_at) == (None, now() + timedelta(hours=1))
    for running in (100, 5000, None):
        renew(claim, running=running)
        assert row().running_since == now() - timedelta(seconds=100)
    making.lose_lease(claim) if end == "lost" else making.record(making.failure(claim))
    assert (row().status == "RUNNING", row().running_since) == (False, None)

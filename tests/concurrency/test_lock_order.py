"""Calls that lock several rows lock them in a fixed order, which prevents deadlocks.

Another session locks the first row. The test checks that the call waits for this row and has not locked any other. The
rows are stored in reverse order, and the call receives them in both orders. Sweeps and claims skip locked rows instead.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from executions.awaits import awaits, webhooks
from executions.models import AwaitUnit, Campaign, CampaignItem, Execution, Interaction, Worker
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import Claim, Move, Note
from executions.submission.submission import ExecutionRequest, submit_many
from executions.workers import registry
from governance.campaigns import campaigns, drafting, drafts
from governance.requests.requests import carry_out_due, decide
from releases.artifacts import blobs
from releases.models import Blob, Pipeline, TrustedKey
from tenancy.login import Attempt
from tenancy.models import LoginCounter, Tenant
from tests import making, requesting
from tests.cases import returning
from tests.concurrency import scenes
from tests.concurrency.sessions import (
    Call,
    another_session,
    ended_after,
    lock,
    locked,
    race,
    results_of,
    stopped_at_row,
    thread,
    until_blocked,
)
from tests.executions.awaits.parking import make_late, suspended
from tests.raw_sql import unguarded

ORDERS = pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])


def reverse(table: type[Model]) -> None:
    name, key = table._meta.db_table, table._meta.pk.column
    with unguarded(table), connection.cursor() as cursor:
        for pk in table._default_manager.order_by("-pk").values_list("pk", flat=True):
            cursor.execute(f"UPDATE {name} SET {key} = {key} WHERE {key} = %s", [pk])


def in_the_order_of_the_table(call: Call) -> object:
    """Run `call` with query plans that read rows in storage order."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off")
    return call()


def assert_ordered(call: Call, rows: Sequence[Model]) -> None:
    """Assert that `call` locks the first of `rows` before any of the others."""
    reverse(type(rows[0]))
    first, *others = rows
    with stopped_at_row(first, partial(in_the_order_of_the_table, call)) as stopped:
        assert locked(others, against="NO KEY UPDATE") == []
        stopped.finish()


def succeeded(claim: Claim) -> Move:
    return Move(claim.execution_id, State.SUCCEEDED, "SUCCEEDED", "w", {}, version=claim.version, result=[])


def renew(claims: list[Claim]) -> object:
    held = [(claim.execution_id, claim.lease_token) for claim in claims]
    return moves.renew_leases(Tenant.objects.get().pk, held, worker_id="w", lease_seconds=60)


GROUPS: dict[str, Callable[[list[Claim]], object]] = {
    "moved": lambda claims: moves.apply([*map(succeeded, claims)]),
    "noted": lambda claims: moves.note("NOTED", [Note(claim.execution_id, "w", {}) for claim in claims]),
    "renewed": renew,
    "recorded": lambda claims: making.record(*map(making.outcome_of, claims)),
    "recorded_checkpoints": lambda claims: making.record(checkpoints=[*map(scenes.checkpoint, claims)]),
    "dropped": lambda claims: making.record(*(making.outcome_of(claim, execution_version=9) for claim in claims)),
}


@ORDERS
@pytest.mark.parametrize("group", GROUPS)
def test_a_group_locks_its_executions_in_order(group: str, order: int) -> None:
    claims = sorted(scenes.running(making.ready()[0], 3), key=lambda claim: claim.execution_id)[::order]
    assert_ordered(partial(GROUPS[group], claims), scenes.executions())


@ORDERS
def test_files_of_an_upload_are_recorded_in_the_order_of_their_digests(order: int) -> None:
    document = making.contract()
    files = [making.archive(document, code=str(number)) for number in range(4)]
    files.sort(key=making.digest_of, reverse=order < 0)
    [artifact] = making.descriptor(document, files[0])["artifacts"]
    artifacts = [{**artifact, "artifactId": str(n), "digest": making.digest_of(data)} for n, data in enumerate(files)]
    descriptor = {**making.descriptor(document, files[0]), "artifacts": artifacts}
    making.upload(making.tenant(), descriptor, *files)
    uploading = partial(making.upload, making.tenant(), descriptor, *files)
    assert_ordered(uploading, list(Blob.objects.order_by("pk")))


@pytest.mark.parametrize(
    ("scene", "table"),
    [
        (scenes.activation_with_keys, TrustedKey),
        (scenes.campaign_of_cancellations, Execution),
        (scenes.campaign_of_pauses, Execution),
        (scenes.campaign_of_resubmissions, Execution),
        (scenes.end_of_an_interruption, Worker),
        (scenes.end_of_an_interruption, Execution),
    ],
    ids=scenes.name_of,
)
def test_a_call_locks_the_rows_of_a_table_in_order(scene: Callable[[], scenes.Scene], table: type[Model]) -> None:
    call, _ = scene()
    assert_ordered(call, list(table._default_manager.order_by("pk")))


@ORDERS
def test_cancelled_executions_close_their_units_in_order(order: int) -> None:
    ready = making.ready()
    for key in ("a", "b", "c"):
        suspended(ready, key)
    units = list(AwaitUnit.objects.order_by("pk"))

    def cancel() -> int:
        with transaction.atomic():
            return awaits.cancel([unit.execution_id for unit in units[::order]])

    assert_ordered(cancel, units)


@pytest.mark.parametrize("account", "abcdef")
@pytest.mark.parametrize("ends", [Attempt.count, Attempt.uncount])
def test_attempts_lock_their_counters_in_order(ends: Callable[[Attempt], None], account: str) -> None:
    attempt = Attempt(account, "192.0.2.1")
    attempt.count()
    assert_ordered(partial(ends, attempt), list(LoginCounter.objects.order_by("pk")))


def test_submissions_write_their_keys_in_order() -> None:
    """The other session submits the first key and then the last one. A wrong order would deadlock."""
    owner, _ = making.ready()

    def submit(*keys: str) -> list[str]:
        orders = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in keys]
        return [type(made).__name__ for made in submit_many(owner, orders, actor="token:x")]

    last: list[str] = []
    running = ended_after(partial(submit, "a"), partial(submit, "c", "b", "a"), lambda: last.extend(submit("c")))
    assert (last, running.result()) == (["Submission"], ["Submission"] * 3)
    assert Execution.objects.count() == 3


def end_of_a_campaign() -> scenes.Scene:
    _, [campaign, *_] = scenes.campaign_advance()
    call = partial(campaigns.cancel, campaign.tenant, campaign.pk, actor="user:x")  # type: ignore[attr-defined]
    return call, [campaign, *CampaignItem.objects.all()]


TABLES: list[tuple[Callable[[], scenes.Scene], Callable[[Any], list[Model]]]] = [
    (scenes.answering, list),
    (scenes.answering, lambda rows: rows[1:]),
    (scenes.giving_up_a_webhook, list),
    (scenes.cancelling, list),
    (scenes.activation_with_keys, lambda keys: [Pipeline.objects.get(), *keys]),
    (scenes.heartbeat, lambda workers: [*workers, *scenes.executions()]),
    (scenes.heartbeat_of_a_silent_worker, list),
    (scenes.admission_of_a_rest_worker, list),
    (scenes.end_of_an_interruption, lambda rows: [*rows, *scenes.executions()]),
    (scenes.end_of_an_interruption, lambda rows: [rows[-1], *scenes.executions()]),
    (end_of_a_campaign, list),
]


@pytest.mark.parametrize(("scene", "in_order"), TABLES)
def test_tables_are_locked_in_order(scene: Callable[[], scenes.Scene], in_order: Callable[[Any], list[Model]]) -> None:
    call, rows = scene()
    first, *others = in_order(rows)
    with stopped_at_row(first, call, "NO KEY UPDATE") as stopped:
        assert locked(others, against="NO KEY UPDATE") == []
        stopped.finish()


def test_a_heartbeat_that_waits_for_a_worker_that_stops_locks_the_tenant_first() -> None:
    """It waits for the worker as for a live one, and locks the tenant only because the worker has stopped by then."""
    owner, release = making.ready()
    worker = Worker.objects.get()
    with thread() as other, another_session() as session:
        lock(session, owner)
        with transaction.atomic():
            Worker.objects.update(stopped_at=Now())
            beating = other.submit(scenes.heartbeat_call(release, worker.worker_id))
            until_blocked(connection, ended=beating.done)
        until_blocked(session, ended=beating.done)
        assert locked([worker], against="NO KEY UPDATE") == []
        session.rollback()
        beating.result(30)
    assert making.reread(worker).stopped_at is None


# --- rows that are skipped ---

LONG_AGO = timezone.now() - timedelta(days=40)
Sweep = tuple[Callable[[], Any], Sequence[Model]]
"""A call that finds two rows, and these rows. The call returns the number of rows that it processed."""


def claims() -> Sweep:
    owner, _ = making.ready()
    rows = [making.execution(owner, key) for key in "ab"]
    return lambda: len(making.claimed(owner)), rows


def expired_leases() -> Sweep:
    owner, _ = making.ready()
    scenes.running(owner, 2)
    Execution.objects.update(lease_expires_at=LONG_AGO)
    expire = partial(moves.expire_leases, actor="sweep", limit=10, most_takeovers=10, lease_seconds=30)
    return lambda: len(expire()), scenes.executions()


def running_campaigns() -> Sweep:
    rows = [scenes.start_campaign(scenes.dead(1)[0]) for _ in range(2)]
    Campaign.objects.update(rate_since=timezone.now() - timedelta(seconds=60))
    return campaigns.advance, rows


def drafting_campaigns() -> Sweep:
    return drafting.draft, [scenes.frozen(scenes.dead(1)[0]) for _ in range(2)]


def old_drafts() -> Sweep:
    owner, _ = scenes.dead(1)
    rows = [scenes.draft(owner) for _ in range(2)]
    with unguarded(Campaign):
        Campaign.objects.update(created_at=LONG_AGO)
    return drafts.remove_old, rows


def late_interactions() -> Sweep:
    ready = making.ready()
    rows = [suspended(ready, key) for key in ("a", "b")]
    make_late(*Interaction.objects.all())
    return awaits.expire, rows


def due_webhooks() -> Sweep:
    ready = making.ready()
    for key in ("a", "b"):
        suspended(ready, key, transport="webhook", transport_metadata={"url": scenes.NOWHERE})
    return lambda: sum([webhooks.OUTBOX.send(), webhooks.OUTBOX.send()]), list(Interaction.objects.all())


def old_executions() -> Sweep:
    return scenes.removal(2)


def silent_workers() -> Sweep:
    release = making.active(making.tenant())
    rows = [making.worker(release, name, last_heartbeat_at=LONG_AGO) for name in ("a", "b")]
    return partial(registry.note_silent, actor="sweep", limit=10), rows


def blobs_to_check() -> Sweep:
    for _ in range(2):
        scenes.uploaded()
    Blob.objects.update(checked_at=LONG_AGO)
    return lambda: len(list(blobs.scrub(60))), list(Blob.objects.all())


def due_requests() -> Sweep:
    rows = [requesting.open_request(requesting.candidate(0), activate_at=requesting.soon()) for _ in range(2)]
    for row in rows:
        requesting.let_pass(row, 2)
    return carry_out_due, rows


def late_requests() -> Sweep:
    rows = [requesting.open_request(requesting.candidate()) for _ in range(2)]
    for row in rows:
        requesting.let_pass(row, 73)
    return decide, rows


def old_login_counters() -> Sweep:
    rows = [LoginCounter.objects.create(key=key, attempts=1, ends_at=LONG_AGO) for key in "ab"]
    left = LoginCounter.objects.filter(key__in="ab")

    def attempt() -> int:
        before = left.count()
        Attempt("ada", "192.0.2.1").count()
        return before - left.count()

    return attempt, rows


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("sweep", returning(Sweep, globals()))
def test_a_locked_row_is_skipped(sweep: Callable[[], Sweep], held: int, caplog: pytest.LogCaptureFixture) -> None:
    """Some sweeps log an error and continue, so the log must not contain a lock timeout either."""
    call, rows = sweep()
    with another_session() as session:
        lock(session, rows[held])
        assert results_of(race(call)) == [1]
    assert results_of(race(call)) == [1]
    assert "lock timeout" not in caplog.text

"""A tenant's worker keys: an operator starts, revokes and replaces them, also while two secrets are active."""

import secrets
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connection, transaction

from executions import tasks
from executions.errors import WorkerKeyChangeRefused
from executions.lifecycle.dispatch import dispatch
from executions.models import Execution, Worker, WorkerKeyChange
from executions.state_machine.moves import Claim
from executions.workers import tenant_keys
from executions.workers.tenant_keys import active_keys, current_key, replace_key, revoke_old_key, start_key
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, OutcomeGroup
from wire.messages.queues import queue_of
from wire.messages.sealing import seal
from wire.worker_keys import WorkerKey, parse_key, worker_key

pytestmark = pytest.mark.django_db
OPERATOR = "user:eva"
Change = Callable[..., WorkerKey]


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


def ids(owner: Tenant) -> list[str]:
    return [key.key_id for key in active_keys(owner.slug)]


def accepted(owner: Tenant, key: WorkerKey) -> bool:
    """True if a heartbeat that is sealed with `key` registers a worker."""
    name = secrets.token_hex(4)
    heartbeat = Heartbeat(worker_id=name, state="HEALTHY", capacity=1)
    tasks.heartbeat(seal(ReleaseIdentity(owner.slug, "p", "c", "r"), heartbeat, key))
    return Worker.objects.filter(worker_id=name).exists()


def test_a_tenant_begins_with_one_key(owner: Tenant, settings: Any) -> None:
    [key] = active_keys(owner.slug)
    assert key == worker_key(settings.WORKER_SECRET, owner.slug, 1) == current_key(owner.slug)


def test_only_keys_of_existing_tenants_are_cached(owner: Tenant, django_assert_num_queries: Any) -> None:
    """A client of the broker can name any number of tenants that do not exist."""
    ids(owner)
    for _ in range(2):
        with django_assert_num_queries(2):
            active_keys("nobody")
    with django_assert_num_queries(0):
        ids(owner)


def test_both_keys_are_active_until_the_old_one_is_revoked(owner: Tenant) -> None:
    old = current_key(owner.slug)
    new = start_key(owner, actor=OPERATOR)
    assert new == current_key(owner.slug)
    assert ids(owner) == [new.key_id, old.key_id]
    assert accepted(owner, old)
    assert accepted(owner, new)
    revoke_old_key(owner, actor=OPERATOR)
    assert ids(owner) == [new.key_id]
    assert not accepted(owner, old)
    assert accepted(owner, new)


def test_a_replacement_revokes_all_other_keys_at_once(owner: Tenant) -> None:
    first = current_key(owner.slug)
    second = start_key(owner, actor=OPERATOR)
    third = replace_key(owner, actor=OPERATOR, reason="leaked")
    assert ids(owner) == [third.key_id]
    assert not accepted(owner, first)
    assert not accepted(owner, second)
    assert accepted(owner, third)


def test_the_keys_of_other_tenants_do_not_change(owner: Tenant) -> None:
    other = making.tenant()
    key = current_key(other.slug)
    replace_key(owner, actor=OPERATOR)
    assert ids(other) == [key.key_id]
    assert accepted(other, key)


def test_an_invalid_change_of_keys_is_rejected_and_changes_nothing(owner: Tenant) -> None:
    with pytest.raises(WorkerKeyChangeRefused):
        revoke_old_key(owner, actor=OPERATOR)
    start_key(owner, actor=OPERATOR)
    before = ids(owner)
    with pytest.raises(WorkerKeyChangeRefused):
        start_key(owner, actor=OPERATOR)
    assert ids(owner) == before
    assert WorkerKeyChange.objects.count() == 1


def test_every_change_is_recorded_with_its_actor_and_reason(owner: Tenant) -> None:
    start_key(owner, actor=OPERATOR, reason="yearly")
    revoke_old_key(owner, actor="user:ben")
    changes = WorkerKeyChange.objects.filter(tenant=owner).order_by("number")
    assert list(changes.values_list("number", "newest", "oldest", "actor", "reason")) == [
        (1, 2, 1, OPERATOR, "yearly"),
        (2, 2, 2, "user:ben", ""),
    ]


@cases(("number", "newest", "oldest"), [(2, 3, 2), (4, 3, 3), (3, 1, 1), (3, 2, 1), (3, 4, 2), (3, 2, 3), (3, 0, 0)])
def test_the_database_keeps_a_revoked_key_revoked(owner: Tenant, number: int, newest: int, oldest: int) -> None:
    start_key(owner, actor=OPERATOR)
    revoke_old_key(owner, actor=OPERATOR)
    insert = """INSERT INTO executions_workerkeychange (tenant_id, number, newest, oldest, actor, reason, at)
        VALUES (%s, %s, %s, %s, 'x', '', now())"""
    with pytest.raises(Error), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(insert, [owner.pk, number, newest, oldest])


def claimed(owner: Tenant) -> Claim:
    making.execution(owner)
    [claim] = making.claimed(owner)
    return claim


@cases("revoke", [False, True])
def test_outcomes_of_a_revoked_key_are_not_recorded(revoke: bool) -> None:
    owner, release = making.ready()
    old = current_key(owner.slug)
    claim = claimed(owner)
    start_key(owner, actor=OPERATOR)
    if revoke:
        revoke_old_key(owner, actor=OPERATOR)
    tasks.record(seal(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)]), old))
    expected = "RUNNING" if revoke else "SUCCEEDED"
    assert Execution.objects.get(pk=claim.execution_id).status == expected


def test_a_worker_whose_key_was_revoked_gets_a_stable_refusal(owner: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    old = current_key(owner.slug)
    replace_key(owner, actor=OPERATOR)
    assert not accepted(owner, old)
    assert f"KEY_NOT_ACTIVE: An envelope for tenantId={owner.slug}" in caplog.text
    assert old.key_id in caplog.text


@cases("encrypts", [True, False])
def test_a_command_is_read_with_either_active_key(settings: Any, encrypts: bool) -> None:
    settings.ENCRYPT_PAYLOADS = encrypts
    owner, release = making.ready()
    old = current_key(owner.slug)
    new = start_key(owner, actor=OPERATOR)
    making.execution(owner, value={"n": "MARKER"})
    assert dispatch() == 1
    [(_, [message])] = taken(queue_of(release.identity))
    for key in (old, new):
        assert "MARKER" in making.body_of(message, key)
    assert ("MARKER" in str(message)) is not encrypts


# --- secrets ---


def test_keys_of_an_old_secret_are_active_while_it_is_a_fallback(owner: Tenant, settings: Any) -> None:
    old = current_key(owner.slug)
    settings.WORKER_SECRET_FALLBACKS, settings.WORKER_SECRET = [settings.WORKER_SECRET], "n" * 32
    new = current_key(owner.slug)
    assert new != old
    assert ids(owner) == [new.key_id, old.key_id]
    assert accepted(owner, old)
    assert accepted(owner, new)
    settings.WORKER_SECRET_FALLBACKS = []
    assert not accepted(owner, old)
    assert accepted(owner, new)


def test_two_secrets_and_two_generations_give_four_keys(owner: Tenant, settings: Any) -> None:
    settings.WORKER_SECRET_FALLBACKS = ["f" * 32]
    start_key(owner, actor=OPERATOR)
    assert len(set(ids(owner))) == 4
    assert all(accepted(owner, key) for key in active_keys(owner.slug))


# --- the command ---


def command(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("worker_key", *arguments, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue()


def test_the_command_prints_the_newest_key_and_names_all(owner: Tenant) -> None:
    old, _ = command(owner.slug)
    assert parse_key(old) == current_key(owner.slug)
    new, printed = command(owner.slug, "--start", "--reason=yearly")
    assert parse_key(new) == current_key(owner.slug)
    assert printed.strip().endswith(f"{parse_key(new).key_id}, {parse_key(old).key_id}")
    assert command(owner.slug, "--revoke-old")[0] == new
    assert command(owner.slug, "--replace")[0] != new
    assert WorkerKeyChange.objects.filter(actor="coordinator worker_key").count() == 3


def test_the_command_prints_why_it_rejects_a_change(owner: Tenant) -> None:
    with pytest.raises(CommandError, match="WORKER_KEY_CHANGE_REFUSED"):
        command(owner.slug, "--revoke-old")


def test_a_revocation_takes_effect_in_other_processes_within_a_second() -> None:
    assert tenant_keys.KNOWN_SECONDS <= 1

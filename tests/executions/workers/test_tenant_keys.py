"""A tenant's worker keys: an operator starts, revokes and replaces them, also while two secrets are active."""

import secrets
from typing import Any

import pytest

from executions import tasks
from executions.errors import WorkerKeyChangeRefused
from executions.lifecycle.dispatch import dispatch
from executions.models import Execution, Worker, WorkerKeyChange
from executions.state_machine.moves import Claim
from executions.workers import tenant_keys
from executions.workers.tenant_keys import active_keys, current_key, revoke_old_key, start_key
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.clock import Clock
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, OutcomeGroup
from wire.messages.queues import queue_of
from wire.messages.sealing import seal
from wire.worker_keys import WorkerKey, worker_key

pytestmark = pytest.mark.django_db
OPERATOR = "user:eva"


def ids(owner: Tenant) -> list[str]:
    return [key.key_id for key in active_keys(owner.slug)]


def accepted(owner: Tenant, *keys: WorkerKey) -> list[bool]:
    """Return for each key whether a heartbeat that is sealed with it registers a worker."""
    names = [secrets.token_hex(4) for _ in keys]
    for name, key in zip(names, keys, strict=True):
        heartbeat = Heartbeat(worker_id=name, state="HEALTHY", capacity=1)
        tasks.heartbeat(seal(ReleaseIdentity(owner.slug, "p", "c", "r"), heartbeat, key))
    return [Worker.objects.filter(worker_id=name).exists() for name in names]


def test_both_keys_are_active_until_the_old_one_is_revoked(owner: Tenant, settings: Any) -> None:
    other = making.tenant()
    [old] = active_keys(owner.slug)
    assert old == worker_key(settings.WORKER_SECRET, owner.slug, 1) == current_key(owner.slug)
    new = start_key(owner, actor=OPERATOR, reason="yearly")
    assert new == current_key(owner.slug)
    assert ids(owner) == [new.key_id, old.key_id]
    assert accepted(owner, old, new) == [True, True]
    revoke_old_key(owner, actor="user:ben")
    assert ids(owner) == [new.key_id]
    assert accepted(owner, old, new) == [False, True]
    changes = WorkerKeyChange.objects.order_by("number").values_list("number", "newest", "oldest", "actor", "reason")
    assert list(changes) == [(1, 2, 1, OPERATOR, "yearly"), (2, 2, 2, "user:ben", "")]
    assert accepted(other, *active_keys(other.slug)) == [True]
    assert ids(other) == [worker_key(settings.WORKER_SECRET, other.slug, 1).key_id]


def test_an_invalid_change_of_keys_is_rejected_and_changes_nothing(owner: Tenant) -> None:
    with pytest.raises(WorkerKeyChangeRefused):
        revoke_old_key(owner, actor=OPERATOR)
    start_key(owner, actor=OPERATOR)
    before = ids(owner)
    with pytest.raises(WorkerKeyChangeRefused):
        start_key(owner, actor=OPERATOR)
    assert (ids(owner), WorkerKeyChange.objects.count()) == (before, 1)


@cases(("revoke", "expected"), [(False, "SUCCEEDED"), (True, "RUNNING")])
def test_outcomes_of_a_revoked_key_are_not_recorded(
    owner: Tenant, release: Release, claim: Claim, revoke: bool, expected: str
) -> None:
    old = current_key(owner.slug)
    start_key(owner, actor=OPERATOR)
    if revoke:
        revoke_old_key(owner, actor=OPERATOR)
    tasks.record(seal(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)]), old))
    assert Execution.objects.get().status == expected


@cases("encrypts", [True, False])
def test_a_command_is_read_with_either_active_key(
    owner: Tenant, release: Release, settings: Any, encrypts: bool
) -> None:
    settings.ENCRYPT_PAYLOADS = encrypts
    keys = [current_key(owner.slug), start_key(owner, actor=OPERATOR)]
    making.execution(owner, value={"n": "MARKER"})
    assert dispatch() == 1
    [(_, [message])] = taken(queue_of(release.identity))
    assert all("MARKER" in making.body_of(message, key) for key in keys)
    assert ("MARKER" in str(message)) is not encrypts


def test_keys_of_an_old_secret_are_active_while_it_is_a_fallback(owner: Tenant, settings: Any) -> None:
    old = current_key(owner.slug)
    settings.WORKER_SECRET_FALLBACKS, settings.WORKER_SECRET = [settings.WORKER_SECRET], "n" * 32
    new = current_key(owner.slug)
    assert ids(owner) == [new.key_id, old.key_id]
    assert accepted(owner, old, new) == [True, True]
    start_key(owner, actor=OPERATOR)
    assert len(set(ids(owner))) == 4, "two secrets and two generations"
    assert accepted(owner, *active_keys(owner.slug)) == [True] * 4
    settings.WORKER_SECRET_FALLBACKS = []
    assert accepted(owner, old, new) == [False, True]


def generations(owner: Tenant) -> list[str]:
    return [key.key_id.partition("-")[0] for key in active_keys(owner.slug)]


def test_a_key_that_another_process_replaced_is_refused_within_a_second(
    owner: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tenant_keys.KNOWN_SECONDS <= 1
    clock = Clock(monkeypatch)
    clock.stop()
    assert generations(owner) == ["1"]
    WorkerKeyChange.objects.create(tenant=owner, number=1, newest=2, oldest=2, actor="user:eva", reason="")
    clock.ahead += 0.9 * tenant_keys.KNOWN_SECONDS
    assert generations(owner) == ["1"]
    clock.ahead += 0.2 * tenant_keys.KNOWN_SECONDS
    assert generations(owner) == ["2"]


def test_only_keys_of_existing_tenants_are_cached_and_a_change_applies_at_once(
    owner: Tenant, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    Clock(monkeypatch).stop()
    ids(owner)
    for name, count in ((owner.slug, 0), ("nobody", 2), ("nobody", 2)):
        with django_assert_num_queries(count):
            active_keys(name)
    start_key(owner, actor=OPERATOR)
    assert generations(owner) == ["2", "1"]

import secrets
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from redis import Redis

from executions import tasks
from executions.errors import WorkerKeyChangeRefused
from executions.lifecycle.dispatch import dispatch
from executions.models import Execution, Worker, WorkerKeyChange
from executions.state_machine.moves import Claim
from executions.workers import instructions, tenant_keys
from executions.workers.tenant_keys import active_keys, current_key, revoke_old_key, start_key
from releases.models import Release
from tenancy.models import Tenant
from tests import making, sealed
from tests.broker import owner_url, taken
from tests.cases import Log, cases
from tests.clock import Clock
from tests.raw_sql import raised
from wire.broker import sending
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import MOST_LEASES, TOLERANCE, Heartbeat, Instruction, OutcomeGroup, WorkerState
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of, queue_of
from wire.messages.sealing import check_fresh, decode, refusal_of, seal, verify
from wire.worker_keys import WorkerKey, worker_key


@pytest.fixture
def queue(release: Release) -> str:
    name = instruction_queue_of(release.identity, "w")
    taken(name)
    return name


def only(queue: str, identity: ReleaseIdentity) -> Instruction:
    [(task, [message])] = taken(queue)
    assert task == INSTRUCTION_TASK
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    assert envelope.identity == identity
    check_fresh(envelope, now=timezone.now())
    return decode(envelope, Instruction)


@cases(
    ("members", "reason", "lost"),
    ({}, None, 0),
    ({"drained_by_operator_at": timezone.now()}, "DRAINED_BY_OPERATOR", MOST_LEASES + 1),
    ({"artifact_digest": "sha256:0"}, "OTHER_ARTIFACT", 0),
    ({"release_version": "unpublished"}, "RELEASE_UNKNOWN", 0),
)
def test_what_an_instruction_says(release: Release, queue: str, members: Any, reason: str | None, lost: int) -> None:
    worker = making.worker(release, "w", **members)
    tokens = [uuid.uuid4() for _ in range(lost)]
    tasks.tell_worker(worker.pk, [str(token) for token in tokens])
    named = replace(release.identity, release_version=worker.release_version)
    expected = Instruction(
        worker_id="w", drain=reason == "DRAINED_BY_OPERATOR", ineligible_reason=reason, lost_leases=tokens[:MOST_LEASES]
    )
    assert only(instruction_queue_of(named, "w"), named) == expected
    assert taken(queue_of(release.identity)) == []
    assert taken(instruction_queue_of(release.identity, "worker-1")) == []


def test_a_worker_that_is_unknown_or_leaves_gets_no_instruction(release: Release, queue: str) -> None:
    assert not instructions.send(0)
    for column in ("stopped_at", "draining_since"):
        leaving: dict[str, Any] = {column: timezone.now()}
        assert not instructions.send(making.worker(release, column, **leaving).pk)
        assert taken(instruction_queue_of(release.identity, column)) == []


def test_at_most_one_instruction_waits_and_it_expires_with_its_timestamp(release: Release, queue: str) -> None:
    worker = making.worker(release, "w")
    message = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, taking=False)
    key = worker_key(settings.WORKER_SECRET, release.identity.tenant_id)
    with Redis.from_url(owner_url()) as client:
        for _ in range(3):
            tasks.heartbeat(seal(release.identity, message, key))
            tasks.tell_worker(worker.pk)
            assert client.llen(queue) == 1
        assert TOLERANCE.total_seconds() / 2 * 1000 < client.pttl(queue) <= TOLERANCE.total_seconds() * 1000
        assert client.keys(f"*{queue}*") == [queue.encode()], "the broker keeps nothing else of it"
    Worker.objects.filter(pk=worker.pk).update(drained_by_operator_at=timezone.now())
    instructions.send(worker.pk)
    assert only(queue, release.identity).drain, "the waiting instruction is the newest"


def identity_of(tenant: Tenant | None = None) -> ReleaseIdentity:
    return ReleaseIdentity((tenant or making.tenant()).slug, "p", "c", "r")


@pytest.fixture
def identity() -> ReleaseIdentity:
    return identity_of()


def heartbeat(
    identity: ReleaseIdentity, key: WorkerKey = making.WRONG_KEY, name: str = "w", state: WorkerState = "HEALTHY"
) -> dict[str, Any]:
    return seal(identity, Heartbeat(worker_id=name, state=state, capacity=1), key)


def notices(identity: ReleaseIdentity) -> list[tuple[str, list[Any]]]:
    return taken(instruction_queue_of(identity, "w"))


def logged(caplog: Log) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.name == "executions.workers.refusals"]


def test_log_and_notice_name_the_refused_heartbeat_and_the_reason(identity: ReleaseIdentity, caplog: Log) -> None:
    message = heartbeat(identity)
    tasks.heartbeat(message)
    tasks.heartbeat(heartbeat(identity))
    first, _ = logged(caplog)
    assert first.startswith(f"Refused a heartbeat: KEY_NOT_ACTIVE: An envelope for {identity}")
    assert making.WRONG_KEY.key_id in first
    assert first.endswith(f"It names worker w of {identity}.")
    with Redis.from_url(owner_url()) as redis:
        assert 0 < redis.pttl(instruction_queue_of(identity, "w")) <= TOLERANCE.total_seconds() * 1000
    [(task, [notice])] = notices(identity)
    refusal = refusal_of(notice)
    assert refusal is not None
    assert (task, refusal.nonce, refusal.code) == (INSTRUCTION_TASK, message["nonce"], "KEY_NOT_ACTIVE")


def test_refusals_of_one_tenant_hide_none_of_another(identity: ReleaseIdentity, caplog: Log, monkeypatch: Any) -> None:
    bad, message = identity_of(), heartbeat(identity)
    for _ in range(instructions.MOST_LINES + 5):
        tasks.heartbeat(heartbeat(bad))
    assert len(logged(caplog)) == instructions.MOST_LINES
    tasks.heartbeat(message)
    assert f" of {identity}" in logged(caplog)[-1]
    assert len(notices(identity)) == 1
    monkeypatch.setattr(instructions, "WINDOW_SECONDS", 0.0)
    tasks.heartbeat(heartbeat(bad))
    assert "5 refusals before it were not logged" in logged(caplog)[-1]


def test_a_notice_replaces_no_instruction(identity: ReleaseIdentity) -> None:
    sending.send_latest(INSTRUCTION_TASK, {"an": "instruction"}, queue=instruction_queue_of(identity, "w"), seconds=60)
    tasks.heartbeat(heartbeat(identity))
    assert notices(identity) == [(INSTRUCTION_TASK, [{"an": "instruction"}])]


OPERATOR = "user:eva"


def ids(owner: Tenant) -> list[str]:
    return [key.key_id for key in active_keys(owner.slug)]


def accepted(owner: Tenant, *keys: WorkerKey) -> list[bool]:
    """Return for each key whether a heartbeat that is sealed with it registers a worker."""
    names = [secrets.token_hex(4) for _ in keys]
    for name, key in zip(names, keys, strict=True):
        tasks.heartbeat(heartbeat(identity_of(owner), key, name))
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
    raised(WorkerKeyChangeRefused, revoke_old_key, owner, actor=OPERATOR)
    start_key(owner, actor=OPERATOR)
    before = ids(owner)
    raised(WorkerKeyChangeRefused, start_key, owner, actor=OPERATOR)
    assert (ids(owner), WorkerKeyChange.objects.count()) == (before, 1)


@cases(("revoke", "expected"), [(False, "SUCCEEDED"), (True, "RUNNING")])
def test_a_revoked_key_is_refused(owner: Tenant, release: Release, claim: Claim, revoke: bool, expected: str) -> None:
    old = current_key(owner.slug)
    start_key(owner, actor=OPERATOR)
    if revoke:
        revoke_old_key(owner, actor=OPERATOR)
    tasks.record(seal(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)]), old))
    assert Execution.objects.get().status == expected


@cases("encrypts", [True, False])
def test_either_active_key_reads_a_command(owner: Tenant, release: Release, settings: Any, encrypts: bool) -> None:
    settings.ENCRYPT_PAYLOADS = encrypts
    keys = [current_key(owner.slug), start_key(owner, actor=OPERATOR)]
    making.execution(owner, value={"n": "MARKER"})
    assert dispatch() == 1
    [(_, [message])] = taken(queue_of(release.identity))
    assert all("MARKER" in sealed.body_of(message, key) for key in keys)
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
    return [key.partition("-")[0] for key in ids(owner)]


def test_keys_are_cached_for_a_second(owner: Tenant, monkeypatch: Any, django_assert_num_queries: Any) -> None:
    assert tenant_keys.KNOWN_SECONDS <= 1
    clock = Clock(monkeypatch)
    clock.stop()
    assert generations(owner) == ["1"]
    for name, count in ((owner.slug, 0), ("nobody", 2), ("nobody", 2)):
        with django_assert_num_queries(count):
            active_keys(name)
    start_key(owner, actor=OPERATOR)
    assert generations(owner) == ["2", "1"]
    WorkerKeyChange.objects.create(tenant=owner, number=2, newest=2, oldest=2, actor="user:eva", reason="")
    for moment, known in ((0.9, ["2", "1"]), (1.1, ["2"])):
        clock.ahead = moment * tenant_keys.KNOWN_SECONDS
        assert generations(owner) == known, "it was replaced elsewhere"


MOST_IDS = 20
LONG_AGO = timezone.now() - timedelta(days=1, minutes=1)


@pytest.fixture
def limited(settings: Any) -> Tenant:
    settings.MAX_TENANT_WORKERS = 2
    return making.tenant()


def send(tenant: Tenant, *names: str, state: WorkerState = "HEALTHY") -> dict[str, Any]:
    for name in names:
        message = heartbeat(identity_of(tenant), current_key(tenant.slug), name, state)
        tasks.heartbeat(message)
    return message


def names(tenant: Tenant) -> set[str]:
    return set(Worker.objects.filter(tenant=tenant).values_list("worker_id", flat=True))


def test_a_heartbeat_beyond_the_limit_registers_no_worker_and_is_refused(limited: Tenant) -> None:
    message = send(limited, "a", "b", "c")
    assert names(limited) == {"a", "b"}
    [(_, [notice])] = taken(instruction_queue_of(identity_of(limited), "c"))
    refusal = refusal_of(notice)
    assert refusal is not None
    assert (refusal.nonce, refusal.code) == (message["nonce"], "WORKER_LIMIT_REACHED")
    other = making.tenant()
    send(other, "of-another-tenant")
    assert names(other) == {"of-another-tenant"}


def test_workers_that_stopped_or_fell_silent_make_room_for_others_up_to_a_number_in_a_day(limited: Tenant) -> None:
    for number in range(MOST_IDS + 1):
        send(limited, f"w-{number}")
        if number < 4:
            making.silence(Worker.objects.get(worker_id=f"w-{number}"))
        else:
            send(limited, f"w-{number}", state="UNAVAILABLE")
    assert names(limited) == {f"w-{number}" for number in range(MOST_IDS)}
    send(limited, "w-0")
    assert Worker.objects.get(worker_id="w-0").eligibility.state == "HEALTHY"


def test_a_worker_that_was_silent_for_a_day_no_longer_counts_and_returns_only_below_the_limit(limited: Tenant) -> None:
    send(limited, "a", "b")
    Worker.objects.filter(worker_id="a").update(last_heartbeat_at=LONG_AGO)
    send(limited, "c", "a")
    assert names(limited) == {"a", "b", "c"}
    assert Worker.objects.get(worker_id="a").last_heartbeat_at == LONG_AGO
    Worker.objects.filter(worker_id="b").update(last_heartbeat_at=LONG_AGO)
    send(limited, "a")
    assert Worker.objects.get(worker_id="a").last_heartbeat_at > LONG_AGO

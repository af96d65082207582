"""A broker that is unavailable or full: dispatch stops, and the history of an execution stays short."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from embedded.valkey import Valkey
from executions.lifecycle import dispatch
from executions.models import Execution, ExecutionEvent, Worker
from executions.submission.submission import submit
from executions.workers import instructions
from foundation.wakeups import wakeup
from foundation.wakeups.broker_gate import FIRST_BATCH, gate
from tenancy.models import Tenant
from tests import making
from tests.broker import taken, using_broker
from tests.building import eventually
from tests.cases import cases
from tests.executions.hosting import LONG_AGO
from wire.broker.acl import COORDINATOR
from wire.messages.queues import queue_of

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(60)]
MANY = 16


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A separate broker for the test, used by this process."""
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url):
        yield server


def fill(server: Valkey) -> None:
    """Make the broker reject every write, as it does when its memory is full."""
    with Redis.from_url(server.owner_url) as client:
        client.config_set("maxmemory", 1)


def make_room(server: Valkey) -> None:
    with Redis.from_url(server.owner_url) as client:
        client.config_set("maxmemory", 0)


def reject_commands(server: Valkey) -> None:
    """Make the broker reject messages but not small writes, as it does when it is nearly full."""
    with Redis.from_url(server.owner_url) as client:
        client.execute_command("ACL", "SETUSER", COORDINATOR, "-lpush")


def accept_commands(server: Valkey) -> None:
    with Redis.from_url(server.owner_url) as client:
        client.execute_command("ACL", "SETUSER", COORDINATOR, "+lpush")


def due(settings: Any, protocol: str) -> Tenant:
    """A tenant with MANY due executions, whose only worker has places for all of them."""
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    owner, _ = making.ready()
    for number in range(MANY):
        making.execution(owner, f"k{number}")
    endpoint = "http://127.0.0.1:1" if protocol == "rest" else ""
    Worker.objects.filter(tenant=owner).update(protocol=protocol, capacity=MANY, endpoint=endpoint)
    return owner


def kinds(owner: Tenant) -> set[tuple[str, ...]]:
    """Return the distinct histories of the tenant's executions."""
    return {tuple(kind for kind, _ in making.history(each)) for each in Execution.objects.filter(tenant=owner)}


@cases("protocol", ["celery", "rest"])
@pytest.mark.usefixtures("broken_broker")
def test_without_a_broker_dispatch_ends_and_claims_each_execution_once(settings: Any, protocol: str) -> None:
    owner = due(settings, protocol)
    for _ in range(20):
        assert dispatch.dispatch() == 0
    assert kinds(owner) == {("SUBMITTED", "CLAIMED", "DISPATCH_FAILED")}
    assert set(Execution.objects.filter(tenant=owner).values_list("status", flat=True)) == {"QUEUED"}


@cases("protocol", ["celery", "rest"])
def test_a_full_broker_costs_each_execution_one_claim(valkey: Valkey, settings: Any, protocol: str) -> None:
    owner = due(settings, protocol)
    fill(valkey)
    for _ in range(20):
        assert dispatch.dispatch() == 0
    assert kinds(owner) == {("SUBMITTED", "CLAIMED", "DISPATCH_FAILED")}


def test_commands_that_are_returned_unsent_leave_no_ticket(valkey: Valkey, settings: Any) -> None:
    """A worker would run them a second time if their message was accepted although its sending failed."""
    due(settings, "celery")
    reject_commands(valkey)
    assert dispatch.dispatch() == 0
    with Redis.from_url(valkey.owner_url) as client:
        assert client.info("commandstats")["cmdstat_set"]["calls"] > 0
        assert client.keys("*.ticket.*") == []


@pytest.mark.usefixtures("broken_broker")
def test_a_submission_reports_that_the_broker_rejects_messages() -> None:
    owner, _ = making.ready()
    delayed = []
    for key in ("before", "after"):
        made = submit(owner, pipeline_id=making.PIPELINE, input={}, idempotency_key=key, actor="token:x")
        delayed.append(made.dispatch_delayed)
        dispatch.dispatch()
    assert delayed == [False, True]


@cases("protocol", ["celery", "rest"])
@pytest.mark.usefixtures("broken_broker")
def test_a_claim_that_is_returned_unsent_does_not_reset_the_count_of_lost_leases(settings: Any, protocol: str) -> None:
    owner = due(settings, protocol)
    Execution.objects.filter(tenant=owner).update(takeovers=2)
    dispatch.dispatch()
    assert kinds(owner) == {("SUBMITTED", "CLAIMED", "DISPATCH_FAILED")}
    assert set(Execution.objects.filter(tenant=owner).values_list("takeovers", flat=True)) == {2}


def test_a_process_that_knows_of_the_outage_claims_nothing(
    valkey: Valkey, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    owner = due(settings, "celery")
    valkey.stop()
    with django_capture_on_commit_callbacks(execute=True):
        wakeup.send("tests.nothing")
    for _ in range(3):
        dispatch.dispatch()
    assert kinds(owner) == {("SUBMITTED",)}


def test_a_wakeup_that_a_full_broker_rejects_raises_no_error(
    valkey: Valkey, django_capture_on_commit_callbacks: Any
) -> None:
    fill(valkey)
    with django_capture_on_commit_callbacks(execute=True):
        wakeup.send("tests.nothing")
        wakeup.send_once("tests.nothing")


def test_the_gate_opens_only_for_a_broker_that_has_room(valkey: Valkey) -> None:
    fill(valkey)
    assert not gate.probe()
    make_room(valkey)
    assert gate.probe()


@cases("fault", ["away", "full"])
def test_work_is_sent_soon_after_the_broker_is_back(valkey: Valkey, settings: Any, fault: str) -> None:
    owner = due(settings, "celery")
    valkey.stop() if fault == "away" else fill(valkey)
    dispatch.dispatch()
    valkey.start() if fault == "away" else make_room(valkey)
    Execution.objects.filter(tenant=owner).update(next_due_at=LONG_AGO)
    eventually(lambda: dispatch.dispatch() == MANY, seconds=10, what="everything sent")
    [release] = {each.pin for each in Execution.objects.filter(tenant=owner)}
    assert taken(queue_of(release), valkey.url)


def refusals(owner: Tenant) -> int:
    """Return the number of claims that were returned because the broker rejected their commands."""
    return ExecutionEvent.objects.filter(execution__tenant=owner, kind="DISPATCH_FAILED").count()


@cases("protocol", ["celery", "rest"])
def test_after_a_refusal_each_retry_claims_only_a_few(valkey: Valkey, settings: Any, protocol: str) -> None:
    owner = due(settings, protocol)
    reject_commands(valkey)
    dispatch.dispatch()
    before = refusals(owner)
    for retry in (1, 2):
        Execution.objects.filter(tenant=owner).update(next_due_at=LONG_AGO)
        eventually(gate.is_open, seconds=10, what="an accepted probe")
        assert dispatch.dispatch() == 0
        assert refusals(owner) == before + retry * FIRST_BATCH < before + retry * MANY


def test_claims_grow_again_as_commands_are_sent(valkey: Valkey, settings: Any) -> None:
    owner = due(settings, "celery")
    reject_commands(valkey)
    dispatch.dispatch()
    accept_commands(valkey)
    Execution.objects.filter(tenant=owner).update(next_due_at=LONG_AGO)
    eventually(gate.is_open, seconds=10, what="an accepted probe")
    assert gate.batch(500) == FIRST_BATCH
    assert dispatch.dispatch() == MANY
    assert gate.batch(500) == 2 * FIRST_BATCH
    gate.reset()
    assert gate.batch(500) == 500


def test_a_broker_that_was_restarted_costs_no_claim(valkey: Valkey, settings: Any) -> None:
    """The restart closes the connections of this process. The next message uses a new one."""
    owner = due(settings, "celery")
    instructions.send(Worker.objects.get(tenant=owner).pk)
    valkey.stop()
    valkey.start()
    assert dispatch.dispatch() == MANY
    assert kinds(owner) == {("SUBMITTED", "CLAIMED")}

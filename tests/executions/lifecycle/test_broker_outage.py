"""A broker that is unavailable or full: dispatch stops, and the history of an execution stays short."""

import tempfile
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
from wire.broker.acl import COORDINATOR
from wire.messages.queues import queue_of

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(60)]
MANY = 16
UNAVAILABLE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder), durable=False) as made:
        yield made


@pytest.fixture
def valkey(server: Valkey) -> Iterator[Valkey]:
    """A separate broker for the tests of this module, empty and used by this process."""
    with using_broker(server.url):
        yield server
    server.stop()
    server.start()


def configure(server: Valkey, *command: str) -> None:
    with Redis.from_url(server.owner_url) as client:
        client.execute_command(*command)


def fill(server: Valkey) -> None:
    """Make the broker reject every write, as it does when its memory is full."""
    configure(server, "CONFIG", "SET", "maxmemory", "1")


def make_room(server: Valkey) -> None:
    configure(server, "CONFIG", "SET", "maxmemory", "0")


def reject_commands(server: Valkey) -> None:
    """Make the broker reject messages but not small writes, as it does when it is nearly full."""
    configure(server, "ACL", "SETUSER", COORDINATOR, "-lpush")


def accept_commands(server: Valkey) -> None:
    configure(server, "ACL", "SETUSER", COORDINATOR, "+lpush")


def make_due(owner: Tenant, settings: Any, protocol: str = "celery") -> None:
    """Submit MANY executions. Their only worker has places for all of them."""
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    for number in range(MANY):
        making.execution(owner, f"k{number}")
    endpoint = "http://127.0.0.1:1" if protocol == "rest" else ""
    Worker.objects.filter(tenant=owner).update(protocol=protocol, capacity=MANY, endpoint=endpoint)


def histories() -> set[tuple[str, ...]]:
    """Return the distinct histories of the executions."""
    return {tuple(making.kinds(each)) for each in Execution.objects.all()}


@cases("protocol", ["celery", "rest"])
@cases("fault", ["unavailable", "full"])
def test_an_outage_costs_each_execution_one_claim(
    valkey: Valkey, owner: Tenant, settings: Any, protocol: str, fault: str
) -> None:
    make_due(owner, settings, protocol)
    fill(valkey)
    Execution.objects.update(takeovers=2)
    with using_broker(valkey.url if fault == "full" else UNAVAILABLE):
        assert [dispatch.dispatch() for _ in range(20)] == [0] * 20
    assert histories() == {("SUBMITTED", "CLAIMED", "DISPATCH_FAILED")}
    assert set(Execution.objects.values_list("status", "takeovers")) == {("QUEUED", 2)}


@pytest.mark.usefixtures("broken_broker")
def test_a_submission_reports_that_the_broker_rejects_messages(owner: Tenant) -> None:
    delayed = []
    for key in ("before", "after"):
        made = submit(owner, pipeline_id=making.PIPELINE, input={}, idempotency_key=key, actor="token:x")
        delayed.append(made.dispatch_delayed)
        dispatch.dispatch()
    assert delayed == [False, True]


def test_a_process_that_knows_of_the_outage_claims_nothing(
    valkey: Valkey, owner: Tenant, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    make_due(owner, settings)
    valkey.stop()
    with django_capture_on_commit_callbacks(execute=True):
        wakeup.send("tests.nothing")
    for _ in range(3):
        dispatch.dispatch()
    assert histories() == {("SUBMITTED",)}


def test_a_full_broker_raises_no_error_and_opens_the_gate_once_it_has_room(
    valkey: Valkey, django_capture_on_commit_callbacks: Any
) -> None:
    fill(valkey)
    with django_capture_on_commit_callbacks(execute=True):
        wakeup.send("tests.nothing")
        wakeup.send_once("tests.nothing")
    assert not gate.probe()
    make_room(valkey)
    assert gate.probe()


@cases("fault", ["away", "full"])
def test_work_is_sent_soon_after_the_broker_is_back(valkey: Valkey, owner: Tenant, settings: Any, fault: str) -> None:
    make_due(owner, settings)
    valkey.stop() if fault == "away" else fill(valkey)
    dispatch.dispatch()
    valkey.start() if fault == "away" else make_room(valkey)
    Execution.objects.update(next_due_at=making.LONG_AGO)
    eventually(lambda: dispatch.dispatch() == MANY, seconds=10, what="everything sent")
    [release] = {each.pin for each in Execution.objects.all()}
    assert taken(queue_of(release), valkey.url)


@cases("protocol", ["celery", "rest"])
def test_after_a_refusal_each_retry_claims_only_a_few_until_commands_are_sent(
    valkey: Valkey, owner: Tenant, settings: Any, protocol: str
) -> None:
    """A worker would run a command a second time if the ticket of a message outlived the refusal of the message."""
    configure(valkey, "FLUSHALL")  # the tickets of the other case
    make_due(owner, settings, protocol)
    reject_commands(valkey)
    dispatch.dispatch()

    def refusals() -> int:
        return ExecutionEvent.objects.filter(kind="DISPATCH_FAILED").count()

    before = refusals()
    for retry in (1, 2):
        Execution.objects.update(next_due_at=making.LONG_AGO)
        eventually(gate.is_open, seconds=10, what="an accepted probe")
        assert dispatch.dispatch() == 0
        assert refusals() == before + retry * FIRST_BATCH < before + retry * MANY
    with Redis.from_url(valkey.owner_url) as client:
        assert client.info("commandstats")["cmdstat_set"]["calls"] > 0
        assert client.keys("*.ticket.*") == []
    accept_commands(valkey)
    Execution.objects.update(next_due_at=making.LONG_AGO)
    eventually(gate.is_open, seconds=10, what="an accepted probe")
    assert (gate.batch(500), dispatch.dispatch(), gate.batch(500)) == (FIRST_BATCH, MANY, 2 * FIRST_BATCH)
    gate.reset()
    assert gate.batch(500) == 500


def test_a_broker_that_was_restarted_costs_no_claim(valkey: Valkey, owner: Tenant, settings: Any) -> None:
    """The restart closes the connections of this process. The next message uses a new one."""
    make_due(owner, settings)
    instructions.send(Worker.objects.get(tenant=owner).pk)
    valkey.stop()
    valkey.start()
    assert dispatch.dispatch() == MANY
    assert histories() == {("SUBMITTED", "CLAIMED")}

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
from foundation.wakeups.broker_gate import FIRST_BATCH, gate
from tenancy.models import Tenant
from tests import making
from tests.broker import using_broker
from tests.building import eventually
from tests.cases import cases
from tests.executions.moments import now
from wire.broker.acl import COORDINATOR

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(60)]
MANY = 16
UNAVAILABLE = "redis://127.0.0.1:1/0"
FULL = ("CONFIG", "SET", "maxmemory", "1")
"""The broker rejects every write."""


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


def make_due(owner: Tenant, settings: Any, protocol: str = "celery") -> None:
    """Submit MANY executions. Their only worker has places for all of them."""
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    for number in range(MANY):
        making.execution(owner, f"k{number}")
    endpoint = "http://127.0.0.1:1" if protocol == "rest" else ""
    Worker.objects.filter(tenant=owner).update(protocol=protocol, capacity=MANY, endpoint=endpoint)


@cases(("protocol", "fault"), [("celery", "unavailable"), ("rest", "full")])
def test_an_outage_costs_each_execution_one_claim(
    valkey: Valkey, owner: Tenant, settings: Any, protocol: str, fault: str
) -> None:
    make_due(owner, settings, protocol)
    configure(valkey, *FULL)
    Execution.objects.update(takeovers=2)
    with using_broker(valkey.url if fault == "full" else UNAVAILABLE):
        assert [dispatch.dispatch() for _ in range(20)] == [0] * 20
    assert {tuple(making.kinds(each)) for each in Execution.objects.all()} == {
        ("SUBMITTED", "CLAIMED", "DISPATCH_FAILED")
    }
    assert set(Execution.objects.values_list("status", "takeovers")) == {("QUEUED", 2)}
    waits = {(each.next_due_at - now()).total_seconds() for each in Execution.objects.all()}
    assert 0 < min(waits) <= max(waits) <= settings.DISPATCH_RETRY_SECONDS


@pytest.mark.usefixtures("broken_broker")
def test_a_submission_reports_that_the_broker_rejects_messages(owner: Tenant) -> None:
    delayed = []
    for key in ("before", "after"):
        made = submit(owner, pipeline_id=making.PIPELINE, input={}, idempotency_key=key, actor="token:x")
        delayed.append(made.dispatch_delayed)
        dispatch.dispatch()
    assert delayed == [False, True]


@cases("protocol", ["celery", "rest"])
def test_after_a_refusal_each_retry_claims_only_a_few_until_commands_are_sent(
    valkey: Valkey, owner: Tenant, settings: Any, protocol: str
) -> None:
    """A worker would run a command a second time if the ticket of a message outlived the refusal of the message."""
    configure(valkey, "FLUSHALL")  # the tickets of the other case
    make_due(owner, settings, protocol)
    configure(valkey, "ACL", "SETUSER", COORDINATOR, "-lpush")
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
    configure(valkey, "ACL", "SETUSER", COORDINATOR, "+lpush")
    Execution.objects.update(next_due_at=making.LONG_AGO)
    eventually(gate.is_open, seconds=10, what="an accepted probe")
    assert (gate.batch(500), dispatch.dispatch(), gate.batch(500)) == (FIRST_BATCH, MANY, 2 * FIRST_BATCH)
    gate.reset()
    assert gate.batch(500) == 500

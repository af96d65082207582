import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from kombu.exceptions import OperationalError
from redis import Redis

from embedded.valkey import Valkey
from executions.lifecycle import dispatch
from executions.models import DeadLetter, Execution, ExecutionEvent, Worker
from executions.transports import celery
from foundation.broker_gate import FIRST_BATCH, gate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken, using_broker
from tests.building import eventually
from tests.cases import cases
from tests.executions.moments import now
from tests.raw_sql import check_foreign_keys_now, raised, run
from wire.broker import sending
from wire.broker.sending import Ticket, take_ticket
from wire.messages.celery_messages import Command, CommandGroup
from wire.messages.queues import COORDINATOR, EXECUTE_TASK, queue_of, ticket_of
from wire.messages.sealing import MOST_SEALS, decode, verify
from wire.messages.task_messages import LONGEST_MESSAGE
from wire.worker_keys import worker_key


def commands(release: Release) -> list[list[Command]]:
    """Return the groups of commands that wait in the queue of the release."""
    groups = []
    for task, [message] in taken(queue_of(release.identity)):
        assert task == EXECUTE_TASK
        envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
        assert envelope.identity == release.identity
        groups.append(decode(envelope, CommandGroup).commands)
    return groups


def sent(release: Release) -> list[set[Any]]:
    return [{command.execution_id for command in group} for group in commands(release)]


def test_due_executions_are_sent_to_their_release_as_one_group(owner: Tenant, release: Release) -> None:
    Worker.objects.update(transition_seconds=0.001)
    value = {"text": "é 😀 \u2028", "list": [1, -2.5, None, True], "": {}}
    on_v1 = [making.execution(owner, f"v1-{number}", value) for number in range(2)]
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    on_v2 = making.execution(owner, "v2")
    assert [dispatch.dispatch(), dispatch.dispatch()] == [3, 0]

    [group] = commands(release)
    assert {command.execution_id for command in group} == {execution.pk for execution in on_v1}
    assert [json.loads(command.payload) for command in group] == [value] * 2
    [[command]] = commands(v2)
    on_v2.refresh_from_db()
    assert command.execution_id == on_v2.pk
    assert (command.execution_version, command.lease_token) == (on_v2.version, on_v2.lease_token)
    assert (command.current_step_index, command.stop_before_step_index, command.attempt) == (0, -1, 0)
    assert command.transition_key == f"{on_v2.pk}:0:0"
    assert (command.shape, command.result_shape) == ("UNI", "SINGLE")
    assert command.lease_seconds == settings.LEASE_SECONDS


def test_an_execution_that_lost_its_lease_is_sent_alone(owner: Tenant, release: Release) -> None:
    Worker.objects.update(transition_seconds=0.001)
    made = [making.execution(owner, f"k{number}").pk for number in range(4)]
    Execution.objects.filter(pk=made[1]).update(takeovers=1)
    dispatch.dispatch()
    assert sorted(sent(release), key=len) == [{made[1]}, {made[0], made[2], made[3]}]


@pytest.fixture
def too_large(owner: Tenant, settings: Any) -> Execution:
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    return making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})


def test_a_command_that_is_too_large_to_be_sent_fails(owner: Tenant, release: Release, too_large: Execution) -> None:
    small = making.execution(owner, "small")
    dispatch.dispatch()
    assert sent(release) == [{small.pk}]
    assert making.history(too_large)[-1] == ("FAILED", "FAILED")
    assert too_large.error_code == "COMMAND_TOO_LARGE"
    assert DeadLetter.objects.get().execution_id == too_large.pk


def test_a_command_that_is_too_large_does_not_fail_a_newer_claim(owner: Tenant, too_large: Execution) -> None:
    [claim] = making.claimed(owner)
    making.lose_lease(claim)
    [newer] = making.claimed(owner)
    assert celery.send([claim]) == []
    assert (making.reread(too_large).status, too_large.lease_token) == ("RUNNING", newer.lease_token)


def test_dispatch_claims_repeatedly_until_nothing_is_due(owner: Tenant, release: Release, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    made = {making.execution(owner, f"k{number}").pk for number in range(5)}
    dispatch.dispatch()
    groups = sent(release)
    assert set().union(*groups) == made
    assert max(map(len, groups)) <= 2


def test_commands_sent_before_the_broker_rejected_the_rest_stay_claimed(owner: Tenant, release: Release) -> None:
    first = making.execution(owner, "sent")
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    unsent = making.execution(owner, "unsent")
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.set(queue_of(v2.identity), "not a list, so it cannot grow")
        dispatch.dispatch()
        redis.delete(queue_of(v2.identity))
    assert sent(release) == [{first.pk}]
    assert making.history(first)[-1] == ("CLAIMED", "RUNNING")
    assert making.history(unsent)[-1] == ("DISPATCH_FAILED", "QUEUED")


def test_claims_are_written_before_anything_waits_for_the_broker(owner: Tenant, release: Release) -> None:
    for number in range(3):
        making.execution(owner, f"k{number}")
    sent_first, posted, refused = making.claimed(owner)
    assert dispatch.begin([sent_first])() == 1, "it leaves an open connection"
    end = dispatch.begin([posted])
    assert sent(release) == [{claim.execution_id} for claim in (sent_first, posted)]
    assert end() == 1
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.set(queue_of(release.identity), "not a list, so it cannot grow")
        assert dispatch.begin([refused])() == 0
        redis.delete(queue_of(release.identity))
    assert making.history(Execution.objects.get(pk=refused.execution_id))[-1] == ("DISPATCH_FAILED", "QUEUED")


MANY = 16


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


@cases("protocol", ["celery", "rest"])
def test_an_outage_costs_one_claim_each(valkey: Valkey, owner: Tenant, settings: Any, protocol: str) -> None:
    """The broker is unavailable, or accepts no writes."""
    make_due(owner, settings, protocol)
    configure(valkey, "CONFIG", "SET", "maxmemory", "1")
    Execution.objects.update(takeovers=2)
    with using_broker(valkey.url if protocol == "rest" else "redis://127.0.0.1:1/0"):
        assert [dispatch.dispatch() for _ in range(20)] == [0] * 20
    executions = Execution.objects.all()
    assert [making.kinds(execution) for execution in executions] == [["SUBMITTED", "CLAIMED", "DISPATCH_FAILED"]] * MANY
    assert set(executions.values_list("status", "takeovers")) == {("QUEUED", 2)}
    waits = {(execution.next_due_at - now()).total_seconds() for execution in executions}
    assert 0 < min(waits) <= max(waits) <= dispatch.RETRY_SECONDS


@pytest.mark.usefixtures("broken_broker")
def test_a_submission_reports_that_the_broker_rejects_messages(owner: Tenant) -> None:
    assert not making.submitted(owner, "before").dispatch_delayed
    dispatch.dispatch()
    assert making.submitted(owner, "after").dispatch_delayed


@cases("protocol", ["celery", "rest"])
def test_after_a_refusal_retries_claim_only_a_few(valkey: Valkey, owner: Tenant, settings: Any, protocol: str) -> None:
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


QUEUE = "tests.tickets"
TICKET = "tests.ticket"


@pytest.fixture
def redis() -> Any:
    with Redis.from_url(settings.CELERY_BROKER_URL) as client:
        yield client
        client.delete(QUEUE, TICKET)


def test_a_ticket_is_sent_with_its_message_and_expires(redis: Any) -> None:
    sending.send(EXECUTE_TASK, {}, queue=QUEUE, ticket=Ticket(TICKET, 30))
    assert redis.llen(QUEUE) == 1
    assert 29_000 < redis.pttl(TICKET) <= 30_000
    assert take_ticket(TICKET)
    sending.send(EXECUTE_TASK, {}, queue=QUEUE, ticket=Ticket(TICKET, 0.05))
    time.sleep(0.1)
    assert not take_ticket(TICKET)


def test_a_value_that_a_worker_may_write_is_not_a_ticket(redis: Any) -> None:
    redis.lpush(TICKET, "x")
    raised(OperationalError, take_ticket, TICKET)


def test_a_ticket_is_taken_once_and_ends(execution: Execution, release: Release, redis: Any, settings: Any) -> None:
    settings.LEASE_SECONDS = 60
    check_foreign_keys_now()
    run(
        "CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.3); RETURN NULL; END $$;"
        "CREATE TRIGGER slow AFTER UPDATE ON executions_execution FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.slow()"
    )
    assert dispatch.dispatch() == 1
    [(_, [message])] = taken(queue_of(release.identity))
    ticket = ticket_of(release.identity, message["nonce"])
    assert 30_000 < redis.pttl(ticket) <= 59_700
    assert [take_ticket(ticket) for _ in range(3)] == [True, False, False]

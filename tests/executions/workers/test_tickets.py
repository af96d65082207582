"""A command message runs once: the broker holds one ticket for it until its leases end."""

import time
from typing import Any

import pytest
from django.conf import settings
from kombu.exceptions import OperationalError
from redis import Redis

from executions.lifecycle.dispatch import dispatch
from pipelines.worker.outbox import Report
from tests.broker import taken
from tests.executions.hosting import MARKS, Hosting
from tests.raw_sql import check_foreign_keys_now, run
from wire.broker import client as broker
from wire.broker.client import Ticket, take_ticket
from wire.messages.queues import EXECUTE_TASK, queue_of, ticket_of

pytestmark = pytest.mark.django_db
QUEUE = "tests.tickets"
TICKET = "tests.ticket"


@pytest.fixture
def redis() -> Any:
    with Redis.from_url(settings.CELERY_BROKER_URL) as client:
        yield client
        client.delete(QUEUE, TICKET)


def test_a_ticket_is_taken_once_and_expires(redis: Any) -> None:
    broker.send(EXECUTE_TASK, {}, queue=QUEUE, ticket=Ticket(TICKET, 30))
    assert redis.llen(QUEUE) == 1
    assert 29_000 < redis.pttl(TICKET) <= 30_000
    assert [take_ticket(TICKET), take_ticket(TICKET)] == [True, False]
    broker.send(EXECUTE_TASK, {}, queue=QUEUE, ticket=Ticket(TICKET, 0.05))
    time.sleep(0.1)
    assert not take_ticket(TICKET)


def test_a_value_that_a_worker_may_write_is_not_a_ticket(redis: Any) -> None:
    redis.lpush(TICKET, "x")
    with pytest.raises(OperationalError):
        take_ticket(TICKET)


def test_a_captured_command_does_not_run_again_and_its_ticket_ends_with_the_leases(
    hosting: Hosting, redis: Any, settings: Any
) -> None:
    settings.LEASE_SECONDS = 60
    hosted = hosting(MARKS)
    others = [hosted.another(take_ticket) for _ in range(3)]
    hosted.submit(1)
    run(
        "CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.3); RETURN NULL; END $$"
    )
    check_foreign_keys_now()
    run("CREATE TRIGGER slow AFTER UPDATE ON executions_execution FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.slow()")
    assert dispatch() == 1
    [(_, [message])] = taken(queue_of(hosted.release.identity))
    assert 30_000 < redis.pttl(ticket_of(hosted.release.identity, message["nonce"])) <= 59_700
    reports: list[Report] = []
    for host in others:
        host.execute(message, reports.append)
    assert len(reports) == 1
    assert (hosted.folder / "step_0").read_text() == "x"

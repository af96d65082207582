"""The broker's client: messages as Celery reads them, with and without acknowledgements."""

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from django.conf import settings
from kombu import Consumer, Exchange, Queue
from redis import Redis
from redis.exceptions import ResponseError

from embedded.valkey import Valkey
from tests.broker import accepting, taken, using_broker
from tests.cases import cases
from wire.broker import client, log_limit

ONE = {"number": 1}


@pytest.fixture
def queue() -> str:
    return f"test.{uuid.uuid4()}"


def unacknowledged(queue: str) -> int:
    """Return the number of unacknowledged messages of a queue. Other tests use the same broker at the same time."""
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        messages: Any = redis.hvals("unacked")
        return sum(queue.encode() in message for message in messages)


def received(queue: Queue, *, acknowledge: bool = True) -> list[Any]:
    """Return the argument of each message in the queue, as a Celery worker of the product receives it."""
    found: list[Any] = []

    def take(body: Any, message: Any) -> None:
        found.append(body[0][0])
        if acknowledge:
            message.ack()

    with accepting("some.task") as connection, connection.channel() as channel:
        assert isinstance(channel, client.Channel)
        with Consumer(channel, [queue], callbacks=[take], accept=["json"]):
            connection.drain_events(timeout=5)
    return found


def test_messages_are_those_of_tasks_with_one_argument_and_keep_their_order(queue: str) -> None:
    values = [{"answer": "é\u2028"}, *range(20)]
    for value in values:
        client.send("some.task", value, queue=queue)
    assert taken(queue) == [("some.task", [value]) for value in values]


def time_to_live(queue: str) -> int:
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        return cast("int", redis.ttl(queue))


def test_the_latest_message_replaces_those_of_its_queue_and_expires(queue: str) -> None:
    client.send("some.task", 1, queue=queue)
    client.send_latest("some.task", 2, queue=queue, seconds=55.5)
    assert 50 <= time_to_live(queue) <= 56
    assert taken(queue) == [("some.task", [2])]


def test_a_message_for_an_empty_queue_is_sent_only_to_an_empty_queue(queue: str) -> None:
    for number in (1, 2):
        client.send_if_empty("some.task", number, queue=queue, seconds=55.5)
    assert 50 <= time_to_live(queue) <= 56
    assert taken(queue) == [("some.task", [1])]


@cases(("no_ack", "acknowledge", "left"), [(False, True, 0), (True, True, 0), (True, False, 0), (False, False, 1)])
def test_only_an_unacknowledged_message_stays_in_progress(
    queue: str, no_ack: bool, acknowledge: bool, left: int
) -> None:
    queue = f"{queue}.{no_ack}.{acknowledge}"
    client.send("some.task", ONE, queue=queue)
    assert received(Queue(queue, no_ack=no_ack), acknowledge=acknowledge) == [ONE]
    assert (unacknowledged(queue), taken(queue)) == (left, [])


def test_the_message_of_a_dead_consumer_is_delivered_again_first_and_once(queue: str) -> None:
    client.send("some.task", ONE, queue=queue)
    assert received(Queue(queue), acknowledge=False) == [ONE]
    client.send("some.task", {"number": 2}, queue=queue)
    with accepting("some.task", visibility_timeout=0) as connection:
        channel: Any = connection.channel()
        for _ in range(2):
            channel.qos.restore_visible(num=1000, interval=1)
    assert taken(queue) == [("some.task", [ONE]), ("some.task", [{"number": 2}])]


@cases("ack_emulation", [False, True])
def test_a_message_that_arrives_after_its_consumer_was_cancelled_is_put_back(queue: str, ack_emulation: bool) -> None:
    """A cancelled consumer has often requested the next message from the broker already."""
    with accepting("some.task", ack_emulation=ack_emulation) as connection, connection.channel() as channel:
        consumer = Consumer(channel, [Queue(queue)], callbacks=[fail], accept=["json"])
        consumer.consume()
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        consumer.cancel()
        client.send("some.task", ONE, queue=queue)
        with suppress(TimeoutError):
            connection.drain_events(timeout=5)
    assert (unacknowledged(queue), taken(queue)) == (0, [("some.task", [ONE])])


def test_a_backlog_in_one_queue_delays_no_other_queue(queue: str) -> None:
    found: list[Any] = []
    for number in range(5):
        client.send("some.task", {"number": number}, queue=queue)
    client.send("some.task", {}, queue=f"{queue}.other")
    with accepting("some.task") as connection, connection.channel() as channel:
        queues = [Queue(name, no_ack=True) for name in (queue, f"{queue}.other")]
        with Consumer(channel, queues, callbacks=[lambda body, _: found.append(body[0][0])], accept=["json"]):
            while len(found) < 6:
                connection.drain_events(timeout=5)
    assert {} in found[:2]


@cases("takes_batches", [False, True])
def test_the_newest_dead_messages_are_kept_in_part(
    queue: str, caplog: pytest.LogCaptureFixture, takes_batches: bool
) -> None:
    caplog.clear()
    secret = "x" * 10_000
    accepted = accepting("some.task", takes_batches=takes_batches)
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.lpush(queue, *(f"{number} {secret}" for number in range(client.MOST_DEAD_MESSAGES + 20)))
        with accepted as connection, Consumer(connection.channel(), [Queue(queue)], callbacks=[fail]):
            while redis.llen(queue):
                connection.drain_events(timeout=5)
        name = client.dead_messages_of(queue)
        kept: Any = [json.loads(entry) for entry in cast("list[bytes]", redis.lrange(name, 0, -1))]
        assert 0 < cast("int", redis.ttl(name)) <= client.DEAD_MESSAGE_SECONDS
        redis.delete(name)
    assert [entry["excerpt"].partition(" ")[0] for entry in kept] == [str(n) for n in range(119, 19, -1)]
    assert {(entry["code"], entry["bytes"] > 10_000) for entry in kept} == {("MESSAGE_MALFORMED", True)}
    assert {len(entry["excerpt"]) for entry in kept} == {client.LONGEST_EXCERPT}
    assert takes_batches or len(caplog.records) == log_limit.MOST
    assert "xx" not in caplog.text


@cases("room", [1, 3])
def test_messages_that_a_consumer_has_no_room_for_go_back_in_order(queue: str, room: int) -> None:
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.lpush(queue, b"garbage")
        for number in range(5):
            client.send("some.task", {"number": number}, queue=queue)
        found: list[int] = []
        with accepting("some.task", takes_batches=True) as connection, connection.channel() as channel:
            consumer = Consumer(channel, [Queue(queue)], callbacks=[lambda body, _: found.append(body[0][0]["number"])])
            consumer.qos(prefetch_count=room)
            with consumer:
                connection.drain_events(timeout=5)
        redis.delete(client.dead_messages_of(queue))
    assert found == list(range(room))
    assert [argument["number"] for _, [argument] in taken(queue)] == list(range(room, 5))


def test_a_broker_that_cannot_store_an_unacknowledged_message_counts_as_lost(queue: str, tmp_path: Path) -> None:
    """Celery survives only errors that mean a lost connection."""
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url):
        client.send("some.task", ONE, queue=queue)
        with Redis.from_url(server.owner_url) as redis:
            redis.config_set("maxmemory", 1)
        with accepting("some.task", server.url) as connection:
            consumer = Consumer(connection.channel(), [Queue(queue)], callbacks=[fail])
            with consumer, pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=5)


def fail(body: Any, message: Any) -> None:
    pytest.fail("The message was accepted")


# --- faults of kombu (docs/upstream.md) ---


@pytest.fixture
def channel() -> Iterator[Any]:
    with accepting("some.task") as connection:
        made = connection.channel()
        assert isinstance(made, client.Channel)
        yield made


def test_a_closed_channel_raises_an_error_from_which_celery_recovers(queue: str, channel: Any) -> None:
    client.send("some.task", {"number": 1}, queue=queue)
    messages: list[Any] = []
    connection = channel.connection.client
    with Consumer(channel, [Queue(queue)], callbacks=[lambda _, message: messages.append(message)], accept=["json"]):
        connection.drain_events(timeout=5)
    [message] = messages
    errors = connection.connection_errors
    channel.close()
    with pytest.raises(errors):
        message.ack()
    assert issubclass(ResponseError, errors), "an error reply, such as of a broker without memory, is one too"


def test_a_declared_queue_leaves_no_key_and_one_client_serves_all_messages(queue: str, channel: Any) -> None:
    Queue(queue, Exchange(queue), routing_key=queue)(channel).declare()
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        assert not redis.exists(f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}")
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is second

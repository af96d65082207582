import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from kombu import Consumer, Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import ResponseError

from coordinator.celery import QUEUES, app
from coordinator.monitoring.loops import SteadyScheduler
from embedded.valkey import Valkey
from tests.broker import accepting, owner_url, taken, using_broker
from tests.cases import cases
from wire import log_lines
from wire.broker import client, sending
from wire.broker.quiet_consumer import QuietConsumer

ONE = {"number": 1}
BINDINGS = ("_kombu.binding", "_kombu.binding_permanent")


@pytest.fixture
def queue() -> str:
    return f"test.{uuid.uuid4()}"


@pytest.fixture
def redis() -> Iterator[Any]:
    with Redis.from_url(settings.CELERY_BROKER_URL) as client:
        yield client


def unacknowledged(redis: Any, queue: str) -> int:
    """Return the number of unacknowledged messages of a queue. Other tests use the same broker at the same time."""
    return sum(queue.encode() in message for message in redis.hvals("unacked"))


def received(queue: Queue, *, acknowledge: bool = True) -> list[Any]:
    """Return the argument of each message in the queue, as a Celery worker of the product receives it."""
    messages: list[Any] = []

    def take(body: Any, message: Any) -> None:
        messages.append(body[0][0])
        if acknowledge:
            message.ack()

    with accepting("some.task") as connection, connection.channel() as channel:
        assert isinstance(channel, client.Channel)
        with Consumer(channel, [queue], callbacks=[take], accept=["json"]):
            connection.drain_events(timeout=5)
    return messages


@cases(("send", "kept"), [(sending.send_latest, 2), (sending.send_if_empty, 1)])
def test_one_message_is_kept_until_it_expires(redis: Any, queue: str, send: Callable[..., None], kept: int) -> None:
    for number in (1, 2):
        send("some.task", number, queue=queue, seconds=55.5)
    assert 50 <= redis.ttl(queue) <= 56
    assert taken(queue) == [("some.task", [kept])]


def _lost(*_: Any, **__: Any) -> None:
    raise ConnectionLostError


def test_a_small_message_is_posted_without_waiting(queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = sending.Ticket(f"{queue}.ticket", 30)
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url):
        post = partial(sending.post, "some.task", queue=queue, ticket=ticket)
        assert post(0) is None, "no connection is open"
        sending.send("some.task", 0, queue=queue)
        sending.send("some.task", 1, queue=queue)
        assert server.child is not None
        server.child.send(signal.SIGSTOP)
        try:
            wait = post(2)
            assert wait is not None
            assert post(3) is None, "the connection waits for an answer"
        finally:
            server.child.send(signal.SIGCONT)
        wait()
        assert post("x" * client.MOST_POSTED_BYTES) is None
        sending.send("some.task", 3, queue=queue)
        with Redis.from_url(server.owner_url) as redis:
            lose_connection = partial(redis.client_kill_filter, _type="normal", skipme=True)
            lose_connection()
            assert post(4) is None, "the connection is lost"
            sending.send("some.task", 4, queue=queue)
            wait = post(5)
            assert wait is not None
            with monkeypatch.context() as patched:
                patched.setattr("redis.connection.Connection.read_response", _lost)
                with pytest.raises(OperationalError):
                    wait()
            sending.send("some.task", 6, queue=queue)
            assert [argument for _, [argument] in taken(queue, server.url)] == [*range(7)], "nothing is sent again"
            redis.config_set("maxmemory", 1)
            refused = post(7)
            assert refused is not None
            with pytest.raises(OperationalError):
                refused()
            assert not redis.exists(ticket.name)


def test_an_answer_after_an_error_is_never_that_of_a_later_command(redis: Any, queue: str) -> None:
    redis.set(queue, "a text")
    with accepting("some.task") as connection:
        channel: Any = connection.channel()
        with pytest.raises(ResponseError):
            channel.exchange(("LLEN", queue), ("GET", queue))
        assert channel.exchange(("STRLEN", queue), ("GETDEL", queue), ("GET", queue)) == [6, b"a text", None]


@cases(("no_ack", "acknowledge", "left"), [(False, True, 0), (True, True, 0), (True, False, 0), (False, False, 1)])
def test_only_unacknowledged_messages_stay(redis: Any, queue: str, no_ack: bool, acknowledge: bool, left: int) -> None:
    queue = f"{queue}.{no_ack}.{acknowledge}"
    sending.send("some.task", ONE, queue=queue)
    assert received(Queue(queue, no_ack=no_ack), acknowledge=acknowledge) == [ONE]
    assert (unacknowledged(redis, queue), taken(queue)) == (left, [])


def test_the_message_of_a_dead_consumer_is_delivered_again_first_and_once(queue: str) -> None:
    sending.send("some.task", ONE, queue=queue)
    assert received(Queue(queue), acknowledge=False) == [ONE]
    sending.send("some.task", {"number": 2}, queue=queue)
    with accepting("some.task", visibility_timeout=0) as connection:
        channel: Any = connection.channel()
        for _ in range(2):
            channel.qos.restore_visible(num=1000, interval=1)
    assert taken(queue) == [("some.task", [ONE]), ("some.task", [{"number": 2}])]


@cases("ack_emulation", [False, True])
def test_a_message_for_a_cancelled_consumer_is_put_back(redis: Any, queue: str, ack_emulation: bool) -> None:
    """A cancelled consumer has often requested the next message from the broker already."""
    with accepting("some.task", ack_emulation=ack_emulation) as connection, connection.channel() as channel:
        consumer = Consumer(channel, [Queue(queue)], callbacks=[fail], accept=["json"])
        consumer.consume()
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        consumer.cancel()
        sending.send("some.task", ONE, queue=queue)
        with suppress(TimeoutError):
            connection.drain_events(timeout=5)
    assert (unacknowledged(redis, queue), taken(queue)) == (0, [("some.task", [ONE])])


def test_a_backlog_in_one_queue_delays_no_other_queue(queue: str) -> None:
    messages: list[Any] = []
    for number in range(5):
        sending.send("some.task", {"number": number}, queue=queue)
    sending.send("some.task", {}, queue=f"{queue}.other")
    with accepting("some.task") as connection, connection.channel() as channel:
        queues = [Queue(name, no_ack=True) for name in (queue, f"{queue}.other")]
        with Consumer(channel, queues, callbacks=[lambda body, _: messages.append(body[0][0])], accept=["json"]):
            while len(messages) < 6:
                connection.drain_events(timeout=5)
    assert {} in messages[:2]


@cases("takes_batches", [False, True])
def test_the_newest_dead_messages_are_kept_in_part(
    redis: Any, queue: str, caplog: pytest.LogCaptureFixture, takes_batches: bool
) -> None:
    caplog.clear()
    secret = "x" * 10_000
    accepted = accepting("some.task", takes_batches=takes_batches)
    redis.lpush(queue, *(f"{number} {secret}" for number in range(client.MOST_DEAD_MESSAGES + 20)))
    with accepted as connection, Consumer(connection.channel(), [Queue(queue)], callbacks=[fail]):
        while redis.llen(queue):
            connection.drain_events(timeout=5)
    name = client.dead_messages_of(queue)
    kept: Any = [json.loads(entry) for entry in redis.lrange(name, 0, -1)]
    assert 0 < redis.ttl(name) <= client.DEAD_MESSAGE_SECONDS
    redis.delete(name)
    assert [entry["excerpt"].partition(" ")[0] for entry in kept] == [str(n) for n in range(119, 19, -1)]
    assert {(entry["code"], entry["bytes"] > 10_000) for entry in kept} == {("MESSAGE_MALFORMED", True)}
    assert {len(entry["excerpt"]) for entry in kept} == {client.LONGEST_EXCERPT}
    assert takes_batches or len(caplog.records) == log_lines.MOST
    assert "xx" not in caplog.text


@cases("room", [1, 3])
def test_messages_that_a_consumer_has_no_room_for_go_back_in_order(redis: Any, queue: str, room: int) -> None:
    redis.lpush(queue, b"garbage")
    for number in range(5):
        sending.send("some.task", {"number": number}, queue=queue)
    numbers: list[int] = []
    with accepting("some.task", takes_batches=True) as connection, connection.channel() as channel:
        consumer = Consumer(channel, [Queue(queue)], callbacks=[lambda body, _: numbers.append(body[0][0]["number"])])
        consumer.qos(prefetch_count=room)
        with consumer:
            connection.drain_events(timeout=5)
    redis.delete(client.dead_messages_of(queue))
    assert numbers == list(range(room))
    assert [argument["number"] for _, [argument] in taken(queue)] == list(range(room, 5))


def test_a_broker_that_cannot_store_an_unacknowledged_message_counts_as_lost(queue: str, tmp_path: Path) -> None:
    """Celery survives only errors that mean a lost connection."""
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url):
        sending.send("some.task", ONE, queue=queue)
        with Redis.from_url(server.owner_url) as redis:
            redis.config_set("maxmemory", 1)
        with accepting("some.task", server.url) as connection:
            consumer = Consumer(connection.channel(), [Queue(queue)], callbacks=[fail])
            with consumer, pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=5)


def test_an_error_of_a_command_in_a_transaction_is_raised(queue: str, redis: Any, channel: Any) -> None:
    redis.set(queue, 1)
    with pytest.raises(ResponseError):
        channel.transact(("HSET", queue, "a", 1), ("GET", queue))
    redis.delete(queue)


def test_a_connection_is_used_again_but_by_no_forked_process(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [first], [again] = channel.exchange(("CLIENT", "ID")), channel.exchange(("CLIENT", "ID"))
    with Redis.from_url(owner_url()) as owner:
        owner.client_kill_filter(_id=first)
    [second] = channel.exchange(("CLIENT", "ID"))
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: 0)
        [third] = channel.exchange(("CLIENT", "ID"))
    assert (first == again, len({first, second, third}), channel.exchange(("CLIENT", "ID"))) == (True, 3, [second])


def fail(body: Any, message: Any) -> None:
    pytest.fail("The message was accepted")


@pytest.fixture
def channel() -> Iterator[Any]:
    with accepting("some.task") as connection:
        made = connection.channel()
        assert isinstance(made, client.Channel)
        yield made


def test_a_closed_channel_raises_an_error_from_which_celery_recovers(queue: str, channel: Any) -> None:
    sending.send("some.task", {"number": 1}, queue=queue)
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


def test_the_declared_queues_of_the_product_leave_no_key_and_one_client_serves_all(redis: Any, channel: Any) -> None:
    for name in QUEUES:
        app.amqp.queues[name](channel).declare()
    assert not redis.exists(*(f"{kind}.{name}" for kind in BINDINGS for name in (*QUEUES, "celery")))
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is second


@cases("kind", [client.Channel, client.SentinelChannel, client.QoS, client.Transport, SteadyScheduler, QuietConsumer])
def test_no_class_overrides_a_private_name_of_kombu_or_celery(kind: type) -> None:
    theirs = {name for base in kind.__mro__ if base.__module__.startswith(("kombu", "celery")) for name in vars(base)}
    ours = {name for base in kind.__mro__ if not base.__module__.startswith(("kombu", "celery")) for name in vars(base)}
    assert {name for name in ours & theirs if name.startswith("_") and not name.endswith("__")} == set()

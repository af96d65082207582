"""Faults of kombu that `wire.broker.client` and `wire.broker.tls` work around.

A test fails when kombu has fixed the fault. Then remove the workaround, as docs/upstream.md describes.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from kombu import Connection, Consumer, Exchange, Queue
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis import Redis
from redis.exceptions import ResponseError

from embedded.valkey import Valkey
from tests.tls_proxy import make_certificate, over_tls, tls_in_front_of

TRANSPORT = "kombu.transport.redis:Transport"


@pytest.fixture
def plain() -> Iterator[Connection]:
    """A connection to the broker with kombu's own transport."""
    with Connection(settings.CELERY_BROKER_URL, transport=TRANSPORT) as connection:
        assert type(connection.transport) is kombu_redis.Transport
        yield connection


@pytest.fixture
def queue() -> Iterator[str]:
    name = f"test.{uuid.uuid4()}"
    yield name
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.delete(name, f"_kombu.binding.{name}", f"_kombu.binding_permanent.{name}")


def received(connection: Connection, channel: Any, queue: Queue) -> Any:
    """Send a message to the queue and return it as a consumer on the channel receives it."""
    messages: list[Any] = []
    with connection.Producer() as producer:
        producer.publish({}, routing_key=queue.name)
    consumer = Consumer(channel, [queue], callbacks=[lambda _, message: messages.append(message)])
    consumer.consume()
    connection.drain_events(timeout=5)
    [message] = messages
    return message


def test_a_closed_channel_raises_an_error_from_which_celery_does_not_recover(plain: Connection, queue: str) -> None:
    channel: Any = plain.channel()
    message = received(plain, channel, Queue(queue))
    channel.do_restore = False
    channel.close()
    with pytest.raises(AttributeError) as caught:
        message.ack()
    assert not isinstance(caught.value, plain.connection_errors + plain.channel_errors)


def test_a_closing_channel_returns_messages_over_its_connection() -> None:
    assert kombu_redis.Channel.do_restore


def test_a_malformed_message_raises_an_error_from_which_celery_does_not_recover(plain: Connection, queue: str) -> None:
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.lpush(queue, b"not JSON")
    consumer = Consumer(plain.channel(), [Queue(queue)], callbacks=[lambda _, message: message.ack()])
    with consumer, pytest.raises(ValueError, match="Expecting value") as caught:
        plain.drain_events(timeout=5)
    assert not isinstance(caught.value, plain.connection_errors + plain.channel_errors)


def test_an_error_reply_of_the_broker_is_no_connection_error(plain: Connection) -> None:
    assert not issubclass(ResponseError, plain.connection_errors)


def test_acknowledging_a_message_that_needs_no_acknowledgement_opens_the_prefetch_limit(queue: str) -> None:
    """Celery acknowledges each task. Kombu counts the acknowledgement although it did not count the message."""
    options = {"ack_emulation": False}
    with Connection(settings.CELERY_BROKER_URL, transport=TRANSPORT, transport_options=options) as connection:
        channel: Any = connection.channel()
        channel.basic_qos(0, 1, False)
        received(connection, channel, Queue(queue, no_ack=True)).ack()
        assert channel.qos.can_consume_max_estimate() == 2


def test_a_declared_queue_leaves_a_key_in_the_broker(plain: Connection, queue: str) -> None:
    exchange = Exchange(queue)  # Celery declares one with the name of each queue
    Queue(queue, exchange, routing_key=queue)(plain.channel()).declare()
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        assert redis.exists(f"_kombu.binding.{queue}")


def test_each_message_needs_another_client(plain: Connection) -> None:
    channel: Any = plain.channel()
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is not second


def test_a_tls_connection_accepts_any_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "unknown.pem", "127.0.0.2")
    with (
        Valkey(tmp_path, durable=False) as server,
        tls_in_front_of(server.port, certificate) as port,
        Connection(over_tls(server.url, port)) as connection,
    ):
        connection.ensure_connection(max_retries=1)


def test_acknowledgements_are_stored_in_keys_that_all_consumers_share() -> None:
    """The broker's rules for workers do not include these keys, so workers disable `ack_emulation`."""
    assert kombu_redis.Channel.unacked_key == "unacked"
    assert kombu_redis.QoS is not virtual.QoS

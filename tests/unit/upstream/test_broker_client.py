"""What the broker's client does about faults of kombu that no other test shows (docs/upstream.md)."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from kombu import Consumer, Exchange, Queue
from redis import Redis
from redis.exceptions import ResponseError

from tests.broker import accepting
from wire.broker import client


@pytest.fixture
def queue() -> str:
    return f"test.{uuid.uuid4()}"


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

"""The broker's client, mended and made faster, for the control worker and the transition worker alike.

When the broker goes away while a message is in hand, kombu's channel is closed under it. Acknowledging or putting
back the message then fails in a way that Celery does not expect, and the whole process ends. With the mends it goes
on and connects again; the message is delivered again once its visibility times out.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.json import dumps
from redis.exceptions import ConnectionError as ConnectionLostError


@dataclass(frozen=True, slots=True)
class Ticket:
    """Lets one worker run the commands of one message, within `seconds` of its sending."""

    name: str
    seconds: float


class Channel(redis.Channel):
    # Putting messages back over the connection that was lost cannot work, and need not.
    do_restore = False
    _kept: Any = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None:
            raise ConnectionLostError("The channel was closed when the broker went away.")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        return parameters

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Celery acknowledges also what it took from a queue that wants no acknowledgements."""
        delivered: Any = self.qos._delivered
        if delivery_tag in delivered:
            super().basic_ack(delivery_tag, multiple)

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Kombu makes a client for each message that is sent or acknowledged, at half the cost of sending it."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]  # not in the stubs
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # not in the stubs
        return self._kept

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Put a message with an expiry or a ticket. All others are put as kombu does.

        A message with an expiry replaces the messages in its queue, and the queue expires with it. A ticket is there
        before its message.
        """
        properties = message["properties"]
        milliseconds, ticket = properties.get("expiration"), properties.pop("ticket", None)
        if milliseconds is not None:
            with self.conn_or_acquire() as client, client.pipeline(transaction=True) as pipe:
                pipe.lpush(queue, dumps(message)).ltrim(queue, 0, 0).pexpire(queue, int(milliseconds)).execute()
        elif ticket is not None:
            with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                pipe.set(ticket.name, "", px=max(int(ticket.seconds * 1000), 1)).lpush(queue, dumps(message)).execute()
        else:
            super()._put(queue, message, **options)


class Transport(redis.Transport):
    Channel = Channel


def survive_broker_loss() -> None:
    """Have every `redis://` and `rediss://` connection of this process use the mended client."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))


_NO_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def send(task: str, argument: Any, *, queue: str, ticket: Ticket | None = None) -> None:
    """Send a Celery task of one argument (Celery's message protocol 2) to the queue of that name.

    `Celery.send_task` in a third of its time, for the messages of which there are many: no routes, no signals, and no
    readable form of the argument, of which Celery's is most of the cost. Raises kombu's `OperationalError` or OSError
    where the broker does not take it.
    """
    _publish(task, argument, queue, {} if ticket is None else {"ticket": ticket})


def take_ticket(name: str) -> bool:
    """Take the ticket of that name. Return False if another took it, or if it has expired.

    Raises kombu's `OperationalError` if the broker is away.
    """
    with current_app.producer_pool.acquire(block=True) as producer:
        connection: Any = producer.connection
        lost = connection.connection_errors + connection.channel_errors
        try:
            channel: Any = producer.channel
            with channel.conn_or_acquire() as client:
                return client.getdel(name) is not None
        except lost as error:
            raise OperationalError(str(error)) from error


def send_latest(task: str, argument: Any, *, queue: str, seconds: float) -> None:
    """Send a message that replaces all messages in `queue`, and expires after `seconds`.

    So at most one message waits there, even if no consumer reads the queue. Raises as `send` does.
    """
    _publish(task, argument, queue, {"expiration": seconds})


def _publish(task: str, argument: Any, queue: str, properties: dict[str, Any]) -> None:
    task_id = str(uuid.uuid4())
    headers = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "",
        "kwargsrepr": "",
        "ignore_result": True,
    }
    with current_app.producer_pool.acquire(block=True) as producer:
        connection: Any = producer.connection
        lost = connection.connection_errors + connection.channel_errors
        try:
            producer.publish(
                ((argument,), {}, _NO_MORE),
                exchange="",
                routing_key=queue,
                serializer="json",
                headers=headers,
                correlation_id=task_id,
                **properties,
            )
        except lost as error:
            raise OperationalError(str(error)) from error

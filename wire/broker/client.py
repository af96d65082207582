"""The broker's client for control workers and workers: kombu's, with three changes.

Messages have a custom format (`task_messages`). A message that is not accepted is moved to the dead messages
of its queue before Celery reads it, so no message can end a process.

If the connection is lost while a message is being processed, kombu's channel is closed. Acknowledging the message or
putting it back then fails in a way that Celery does not expect, and the whole process ends. The same happens if the
broker rejects a command, for example because its memory is full. Here both are a lost connection: Celery reconnects,
and the message is delivered again after its visibility timeout.

The classes override public names of kombu, Celery and redis-py only. A test fails for a private one.
"""

import json
import logging
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.scheduling import round_robin_cycle
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import RedisError, ResponseError

from wire.log_lines import LogLimit
from wire.messages.task_messages import NOTHING_FOLLOWS, MessageRefused, TaskMessage, TaskMessages

log = logging.getLogger(__name__)
log.addFilter(LogLimit())
MOST_DEAD_MESSAGES = 100
LONGEST_EXCERPT = 500
"""The number of bytes that are kept of a dead message."""
DEAD_MESSAGE_SECONDS = 7 * 24 * 3600
BATCH, BATCH_BYTES = 1000, 1024**2
MOST_POSTED_BYTES = 16 * 1024
"""What the buffers of any connection hold, so that writing it does not wait for the broker to read."""
# Removes and returns the oldest messages of a queue, until there are ARGV[1] of them or they have ARGV[2] bytes. RPOP
# has no limit for bytes, and a thousand large messages would exhaust the memory of the process.
_TAKE_MANY = """
local taken, bytes = {}, 0
while #taken < tonumber(ARGV[1]) and bytes < tonumber(ARGV[2]) do
    local text = redis.call('RPOP', KEYS[1])
    if not text then break end
    taken[#taken + 1] = text
    bytes = bytes + #text
end
return taken
"""


def dead_messages_of(queue: str) -> str:
    """Return the name of the list of the newest messages of `queue` that were not accepted, newest first."""
    return f"{queue}.dead"


class QoS(redis.QoS):
    """Keeps the raw text of each message, after the name of its queue, until it is acknowledged."""

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        held = message.delivery_info["routing_key"].encode() + b"\n" + message.properties["text"]
        self.channel.transact(
            ("ZADD", self.unacked_index_key, time.time(), delivery_tag),
            ("HSET", self.unacked_key, delivery_tag, held),
        )
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self.channel.transact(("ZREM", self.unacked_index_key, delivery_tag), ("HDEL", self.unacked_key, delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        def restore(pipe: Any) -> None:
            queue, separator, text = (pipe.hget(self.unacked_key, tag) or b"").partition(b"\n")
            pipe.multi()
            pipe.zrem(self.unacked_index_key, tag).hdel(self.unacked_key, tag)
            if queue and separator:
                (pipe.lpush if leftmost else pipe.rpush)(queue, text)

        with self.channel.conn_or_acquire(client) as connection:
            connection.transaction(restore, self.unacked_key)


class QoSWithoutAcknowledgements(virtual.QoS):
    """Lets a channel receive messages while its `has_room` is true. No message waits for its acknowledgement."""

    channel: Any

    def can_consume(self) -> bool:
        return bool(self.channel.has_room())


class Channel(redis.Channel):
    QoS = QoS
    # Messages cannot be put back over a lost connection, and need not be.
    do_restore = False
    # Without priorities, each queue is one key of the broker.
    priority_steps = [0]
    # The message format, set by a transport option. Without it a process accepts no messages and signs none.
    messages = TaskMessages()
    # A transport option: after a message that is not accepted, check the next ones in one go, so that a flood of them
    # does not delay the others. It needs a broker user with the commands EVAL and RPOP, which workers do not have.
    takes_batches = False
    # All threads of a process send with one channel (`wire.broker.sending`), and each needs a connection while it does.
    max_connections = 10_000
    from_transport_options = (*redis.Channel.from_transport_options, "messages", "takes_batches")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # The queues in the order in which they are read. Kombu calls its strategy once, for this object.
        self.reading_order: Any = round_robin_cycle()
        self.queue_order_strategy: Any = lambda: self.reading_order
        self.shared_client: Any = None
        # The connections that are not in use, by process: a forked one must not use its parent's.
        self.idle: dict[int, list[Any]] = defaultdict(list)
        self.has_received = False
        # A consumer without acknowledgements may set a function that is false while it can take no further message.
        self.has_room: Callable[[], bool] = lambda: True
        super().__init__(*arguments, **options)
        self.read_answer = self.handlers["BRPOP"]
        self.handlers["BRPOP"] = self.read
        if not self.ack_emulation:
            self.QoS = QoSWithoutAcknowledgements  # type: ignore[assignment]  # as kombu does it

    @cached_property
    def client(self) -> Any:
        """The client that waits for messages. Its answers to BRPOP go to this channel, which kombu never parses."""
        client = super().client
        client.set_response_callback("BRPOP", self.receive)
        return client

    @property
    def active_queues(self) -> Any:
        """The queues to read. Kombu asks several times for each message, and looks for those of fanout exchanges."""
        return list(dict.fromkeys(self._active_queues))

    @cached_property
    def qos(self) -> Any:
        """What is delivered and not acknowledged. Kombu asks ten times for each message."""
        return super().qos

    def sender(self) -> Any:
        """Return the one client with which this channel sends. Raises a lost connection if the channel is closed.

        Kombu creates a client for each message, which costs half as much as sending it. On a closed channel, it fails
        with an error from which Celery does not recover.
        """
        if self.connection is None:
            raise ConnectionLostError("The channel was closed when the connection was lost.")
        if self.shared_client is None or self.shared_client.connection_pool is not self.pool:
            self.shared_client = self.Client(connection_pool=self.pool)
            self.idle = defaultdict(list)
        return self.shared_client

    def exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands together, and return their answers. Raises the first error that is an answer.

        A pipeline of the client takes twice as long. The connections are not given back to the client's pool, which
        makes two thirds of all calls to lend one. Commands are not sent twice: a ticket may have been taken meanwhile.
        """
        pool = self.sender().connection_pool
        idle = self.idle[os.getpid()]
        connection = idle.pop() if idle else pool.get_connection()
        try:
            if connection.is_connected and _is_stale(connection):
                connection.disconnect()
            if not connection.is_connected:
                connection.connect()  # sending would connect to the former primary, without a question to the Sentinels
            connection.send_packed_command(connection.pack_commands(commands))
            return [connection.read_response() for _ in commands]
        except BaseException:
            connection.disconnect()  # it may hold more answers
            raise
        finally:
            idle.append(connection)

    def post(self, *commands: tuple[Any, ...]) -> Callable[[], list[Any]] | None:
        """Write commands, and return a function that returns their answers as `exchange` does. Call it once.

        Neither connects nor waits. Return None for large commands, and if no connection is open and not in use.
        """
        idle = self.idle[os.getpid()]
        try:
            connection = idle.pop()
        except IndexError:
            return None
        packed = connection.pack_commands(commands)
        if not connection.is_connected or sum(map(len, packed)) > MOST_POSTED_BYTES or _is_stale(connection):
            idle.append(connection)
            return None
        try:
            connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError):
            connection.disconnect()
            idle.append(connection)
            return partial(self.exchange, *commands)
        return partial(_posted, idle, connection, len(commands))

    def transact(self, *commands: tuple[Any, ...]) -> None:
        """Make the broker execute commands in one transaction. Raises the first error that is an answer."""
        *_, answers = self.exchange(("MULTI",), *commands, ("EXEC",))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Provide `client`, or else `sender`."""
        yield self.sender() if client is None else client

    def close(self) -> None:
        self.takes_batches = False
        super().close()

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Ignore messages without acknowledgements, because Celery acknowledges those too."""
        with suppress(KeyError):
            self.qos.get(delivery_tag)
            super().basic_ack(delivery_tag, multiple)

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **options: Any) -> None:
        """Send a message of Celery to a queue. Ignores the property `expiration`."""
        if exchange:
            raise NotImplementedError("Messages are sent to queues by name, without exchanges.")
        headers, body = message["headers"], message["body"]
        header = {
            "task": headers["task"],
            "eta": headers.get("eta"),
            "expires": headers.get("expires"),
            "retries": headers.get("retries", 0),
        }
        text = self.messages.write(routing_key, header, body if isinstance(body, bytes) else body.encode())
        with self.conn_or_acquire() as client:
            client.lpush(routing_key, text)

    def read(self) -> bool:
        """Read one answer of the broker. Raises `Empty` if it contains no message."""
        self.has_received = False
        try:
            self.read_answer()
        except Empty:
            if not self.has_received:
                raise
        return True

    def receive(self, answer: Any) -> None:
        """Deliver the message of an answer to BRPOP. Return None, which means an empty answer to kombu."""
        if not answer:
            return
        self.has_received = True
        queue = answer[0].decode()
        self.reading_order.rotate(queue)
        refused = self._deliver_all(queue, [answer[1]])
        self._bury(queue, refused)
        if refused and self.takes_batches:
            with self.conn_or_acquire() as client:
                texts = client.eval(_TAKE_MANY, 1, queue, BATCH, BATCH_BYTES)
            self._bury(queue, self._deliver_all(queue, texts))

    def _deliver_all(self, queue: str, texts: list[bytes]) -> list[tuple[str, bytes]]:
        """Deliver messages, oldest first, as far as there is room. Return those that are refused, with the codes.

        Without room for the next one, it goes back into the queue with all that follow. So does a message of a queue
        that was cancelled while the broker was asked for it.
        """
        refused = []
        transport: Any = self.connection
        for number, text in enumerate(texts):
            try:
                message = self.messages.read(queue, text)
            except MessageRefused as error:
                refused.append((error.code, text))
                if error.age is not None:
                    _log_age(queue, error.age)
                continue
            if queue not in self.reading_order.items or (number and not self.qos.can_consume()):
                with self.conn_or_acquire() as client:
                    client.rpush(queue, *reversed(texts[number:]))
                break
            transport.on_message_ready(self, _celery_message(queue, text, message), queue)
        return refused

    def _bury(self, queue: str, refused: list[tuple[str, bytes]]) -> None:
        """Add messages to the dead messages of `queue`. Log a warning if the broker does not accept them."""
        if not refused:
            return
        for code, count in Counter(code for code, _ in refused).items():
            size = sum(len(text) for reason, text in refused if reason == code)
            if count == 1:
                log.error("Dropped a message of %d bytes from queue %s: %s", size, queue, code)
            else:
                log.error("Dropped %d messages of %d bytes in all from queue %s: %s", count, size, queue, code)
        newest = [_dead_message(code, text) for code, text in refused[-MOST_DEAD_MESSAGES:]]
        name = dead_messages_of(queue)
        try:
            with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                pipe.lpush(name, *newest).ltrim(name, 0, MOST_DEAD_MESSAGES - 1).expire(name, DEAD_MESSAGE_SECONDS)
                pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("The broker did not store dead messages: %s", type(error).__name__)


def _is_stale(connection: Any) -> bool:
    """Return True if the broker has ended the connection, or sent an answer that has not been read."""
    try:
        return bool(connection.can_read())
    except (RedisError, OSError):
        return True


def _posted(idle: list[Any], connection: Any, count: int) -> list[Any]:
    try:
        return [connection.read_response() for _ in range(count)]
    except BaseException:
        connection.disconnect()  # it may hold more answers
        raise
    finally:
        idle.append(connection)


def _log_age(queue: str, age: float) -> None:
    """Log the age of a message.

    Only messages with a valid signature are logged here, so garbage cannot flood the log.
    """
    when = f"{-age:.0f} s ahead" if age < 0 else f"{age:.0f} s ago"
    log.error(
        "A message in queue %s was signed %s, by its sender's clock. Compare the clocks of all hosts", queue, when
    )


def _dead_message(code: str, text: bytes) -> str:
    excerpt = text[:LONGEST_EXCERPT].decode("ascii", "backslashreplace")
    return json.dumps({"code": code, "at": time.time(), "bytes": len(text), "excerpt": excerpt})


def _celery_message(queue: str, text: bytes, message: TaskMessage) -> dict[str, Any]:
    """Return the message in the form of kombu and Celery, built only from the accepted members. Its body is decoded."""
    name = str(uuid.uuid4())
    return {
        "body": [message.arguments, {}, dict(NOTHING_FOLLOWS)],
        # Kombu does not decode a body of this type.
        "content-type": "application/data",
        "content-encoding": "binary",
        "headers": {
            "lang": "py",
            "task": message.task,
            "id": name,
            "root_id": name,
            "parent_id": None,
            "group": None,
            "eta": message.eta,
            "expires": message.expires,
            "retries": message.retries,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "ignore_result": True,
        },
        "properties": {"delivery_tag": name, "delivery_info": {"exchange": "", "routing_key": queue}, "text": text},
    }


class Transport(redis.Transport):
    Channel = Channel
    # Celery reconnects after these errors; any other error ends the process.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


class SentinelChannel(Channel, redis.SentinelChannel):
    """A channel to the present primary (`wire.addresses`). A demoted primary counts as a lost connection."""

    from_transport_options = (*Channel.from_transport_options, "master_name", "sentinel_kwargs")


class SentinelTransport(Transport):
    Channel = SentinelChannel
    default_port = 26379


def survive_broker_loss() -> None:
    """Make every connection of this process to a broker use this client."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"

"""The broker's client, and its users on a real server: a worker's credentials permit exactly what it needs."""

import inspect
import json
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import NoPermissionError, ResponseError

from coordinator.celery import QUEUES, app
from coordinator.monitoring.loops import SteadyScheduler
from embedded.valkey import Valkey, worker_url
from tests import making
from tests.broker import accepting, owner_url, taken, using_broker
from tests.cases import cases
from tests.words import words
from wire import log_lines
from wire.broker import client, sending
from wire.broker.quiet_consumer import QuietConsumer
from wire.identity import ReleaseIdentity
from wire.messages import queues
from wire.messages.queues import HEARTBEAT_QUEUE, OUTCOME_QUEUE, instruction_queue_of, queue_of, tenant_prefix

ONE = {"number": 1}
TENANT = "acme"
OWN = ReleaseIdentity(TENANT, "payments", "1", "1.0")
OWN_QUEUES = (queue_of(OWN), f"{queue_of(OWN)}\x06\x163", instruction_queue_of(OWN, "w-1"))
OTHERS = [ReleaseIdentity(tenant, "payments", "1", "1.0") for tenant in ("acme-2", "acm", "*")]
# Commands that authenticate, reset or close a connection. Redis applies no ACL to them.
UNRESTRICTED = {"auth", "hello", "quit", "reset"}
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
        sending.send("some.task", value, queue=queue)
    assert taken(queue) == [("some.task", [value]) for value in values]


def test_the_latest_message_replaces_those_of_its_queue_and_expires(redis: Any, queue: str) -> None:
    sending.send("some.task", 1, queue=queue)
    sending.send_latest("some.task", 2, queue=queue, seconds=55.5)
    assert 50 <= redis.ttl(queue) <= 56
    assert taken(queue) == [("some.task", [2])]


def test_a_message_for_an_empty_queue_is_sent_only_to_an_empty_queue(redis: Any, queue: str) -> None:
    for number in (1, 2):
        sending.send_if_empty("some.task", number, queue=queue, seconds=55.5)
    assert 50 <= redis.ttl(queue) <= 56
    assert taken(queue) == [("some.task", [1])]


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
    found: list[Any] = []
    for number in range(5):
        sending.send("some.task", {"number": number}, queue=queue)
    sending.send("some.task", {}, queue=f"{queue}.other")
    with accepting("some.task") as connection, connection.channel() as channel:
        queues = [Queue(name, no_ack=True) for name in (queue, f"{queue}.other")]
        with Consumer(channel, queues, callbacks=[lambda body, _: found.append(body[0][0])], accept=["json"]):
            while len(found) < 6:
                connection.drain_events(timeout=5)
    assert {} in found[:2]


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


def test_a_connection_is_used_again_until_the_broker_ends_it_and_never_by_a_forked_process(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# --- faults of kombu (docs/upstream.md) ---


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


@pytest.fixture
def plain() -> Iterator[Any]:
    """A channel of kombu without the product's changes."""
    transport = "kombu.transport.redis:Transport"
    with Connection(settings.CELERY_BROKER_URL, transport=transport) as connection:
        yield connection.channel()


def plain_message(plain: Any, queue: Queue) -> Any:
    messages: list[Any] = []
    Producer(plain).publish({}, routing_key=queue.name)
    plain.basic_qos(prefetch_count=1)
    with Consumer(plain, [queue], callbacks=[lambda _, message: messages.append(message)]):
        plain.connection.client.drain_events(timeout=5)
    return messages[0]


def test_kombu_still_fails_on_a_closed_channel_and_ends_at_an_error_reply(queue: str, plain: Any) -> None:
    """If this and the next three tests fail after an upgrade, a workaround of docs/upstream.md can go."""
    errors = plain.connection_errors
    message = plain_message(plain, Queue(queue))
    plain.do_restore = False  # as in the product: nothing can be put back over a lost connection
    plain.close()
    with pytest.raises(AttributeError):
        message.ack()
    assert not issubclass(ResponseError, errors)


def test_kombu_still_opens_the_prefetch_limit_for_messages_without_acknowledgement(queue: str, plain: Any) -> None:
    plain_message(plain, Queue(queue, no_ack=True)).ack()
    assert plain.qos.can_consume_max_estimate() == 2


def test_kombu_still_raises_the_error_of_a_malformed_message(redis: Any, queue: str, plain: Any) -> None:
    redis.lpush(queue, "not JSON")
    with Consumer(plain, [Queue(queue)], callbacks=[fail]), pytest.raises(ValueError):  # noqa: PT011
        plain.connection.client.drain_events(timeout=5)


def test_kombu_still_keeps_bindings_and_creates_a_client_for_each_message(redis: Any, queue: str, plain: Any) -> None:
    Queue(queue, Exchange(queue), routing_key=queue)(plain).declare()
    assert redis.delete(*(f"{kind}.{queue}" for kind in BINDINGS)) == 2
    with plain.conn_or_acquire() as first, plain.conn_or_acquire() as second:
        assert first is not second


FOREIGN_KEYS = (
    *(name for other in OTHERS for name in (queue_of(other), instruction_queue_of(other, "w-1"))),
    *(queue for queue in QUEUES if queue not in {OUTCOME_QUEUE, HEARTBEAT_QUEUE}),
    "unacked",
    "coordinator:probe",
    "wakeup:x:0",
    tenant_prefix(TENANT)[:-1],
    "",
    f"x{queue_of(OWN)}",
)
ALLOWED = set(words("ping select client|setinfo multi exec brpop lpush rpush llen ltrim expire getdel"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("acl"), durable=False) as running:
        yield running


@pytest.fixture(scope="module")
def owner(server: Valkey) -> Iterator[Any]:
    with Redis.from_url(server.owner_url) as client:
        yield client


@pytest.fixture(scope="module")
def worker(server: Valkey) -> Iterator[Any]:
    with Redis.from_url(worker_url(server.owner_url, TENANT)) as client:
        yield client


def test_a_worker_may_use_the_queues_of_its_tenant(worker: Any) -> None:
    for queue in OWN_QUEUES:
        assert worker.lpush(queue, "message") == 1
        assert worker.llen(queue) == 1
        assert worker.brpop([queue], 1)[1] == b"message"


@cases("queue", [OUTCOME_QUEUE, HEARTBEAT_QUEUE])
def test_a_worker_may_append_to_outcomes_and_heartbeats_and_nothing_else(worker: Any, owner: Any, queue: str) -> None:
    assert worker.lpush(queue, "message") == 1
    for command in ("BRPOP {} 1", "LLEN {}", "LPOP {}", "RPUSH {} x", "LTRIM {} 0 0", "BRPOP {} {own} 1"):
        with pytest.raises(NoPermissionError):
            worker.execute_command(*command.format(queue, own=OWN_QUEUES[0]).split())
    assert owner.lrange(queue, 0, -1) == [b"message"]
    assert owner.delete(queue) == 1


@cases("key", FOREIGN_KEYS)
def test_every_other_key_is_refused(worker: Any, owner: Any, key: str) -> None:
    for arguments in (("LPUSH", key, "x"), ("LLEN", key), ("BRPOP", key, 1), ("BRPOP", OWN_QUEUES[0], key, 1)):
        with pytest.raises(NoPermissionError):
            worker.execute_command(*arguments)
    assert not owner.exists(key)


def test_every_other_command_is_refused(owner: Any) -> None:
    """Ask the server about each of its commands, with keys of the tenant as arguments."""
    permitted = set()
    for name, arity in commands(owner):
        words = name.split("|")
        words += [OWN_QUEUES[0]] * (abs(arity) - len(words))
        answer = owner.execute_command("ACL", "DRYRUN", queues.worker_user(TENANT), *words)
        if "permissions to run" not in text(answer):
            permitted.add(name)
    assert permitted >= ALLOWED
    assert permitted - ALLOWED <= UNRESTRICTED


def commands(owner: Any) -> list[tuple[str, int]]:
    """Name and arity of every command of the server, or of its subcommands if it has any."""
    found: list[tuple[str, int]] = []
    for entry in owner.execute_command("COMMAND").values():
        leaves = [(text(sub[0]), sub[1]) for sub in entry["subcommands"]]
        found += leaves or [(entry["name"], entry["arity"])]
    assert len(found) > 300
    return found


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.fixture
def tenants(db: None) -> None:
    making.tenant("acme")
    making.tenant("acme-2")


def printed(capsys: Any, *arguments: Any, **options: Any) -> list[str]:
    call_command("broker_acl", *arguments, **options)
    found: list[str] = capsys.readouterr().out.splitlines()
    return found


def test_the_command_prints_a_complete_acl_file(tenants: None, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "passwords"
    lines = printed(capsys, passwords=folder)
    assert [line.split()[1] for line in lines] == ["coordinator", "worker-acme", "worker-acme-2", "default"]
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.read_text().strip() not in "\n".join(lines)
    assert printed(capsys, passwords=folder) == lines


def test_the_commands_for_one_tenant_replace_its_user_and_accept_each_password_of_the_file(
    tenants: None, tmp_path: Path, capsys: Any, server: Valkey, owner: Any
) -> None:
    for _ in range(2):
        [line] = printed(capsys, "acme", passwords=tmp_path, commands=True)
        owner.execute_command(*line.split())
    user = owner.acl_getuser("worker-acme")
    assert len(user["passwords"]) == len(user["selectors"]) == 1
    passwords = ["old" * 12, "new" * 12]
    (tmp_path / "worker-acme").write_text("\n".join(passwords))
    [line] = printed(capsys, "acme", passwords=tmp_path, commands=True)
    owner.execute_command(*line.split())
    for password in passwords:
        with Redis(port=server.port, username="worker-acme", password=password) as client:
            assert client.ping()


@cases("content", ["", f"{'long' * 10}\nshort"])
def test_weak_passwords_are_refused_and_not_shown(tenants: None, tmp_path: Path, content: str) -> None:
    (tmp_path / "worker-acme").write_text(content)
    with pytest.raises(CommandError, match="at least 32 characters") as caught:
        call_command("broker_acl", "acme", passwords=tmp_path)
    assert "long" not in str(caught.value)


METHODS = {
    "drf_spectacular.openapi:AutoSchema._get_filter_parameters": ["self"],
    "drf_spectacular.openapi:AutoSchema._get_response_bodies": ["self", "direction"],
    "drf_spectacular.openapi:AutoSchema._insert_field_validators": ["self", "field", "schema"],
    "drf_spectacular.openapi:AutoSchema._is_list_view": ["self", "serializer"],
    "drf_spectacular.openapi:AutoSchema._map_basic_serializer": ["self", "serializer", "direction"],
    "drf_spectacular.openapi:AutoSchema._map_serializer_field": ["self", "field", "direction", "bypass_extensions"],
}


def test_private_names_exist_and_private_methods_have_the_expected_parameters() -> None:
    found = {name: list(inspect.signature(resolve_name(name)).parameters) for name in METHODS}
    assert found == METHODS

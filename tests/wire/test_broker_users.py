from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from redis import Redis
from redis.exceptions import NoPermissionError

from coordinator.celery import QUEUES
from embedded.valkey import Valkey, worker_url
from tests import making
from tests.cases import cases
from tests.words import words
from wire.identity import ReleaseIdentity
from wire.messages import queues
from wire.messages.queues import HEARTBEAT_QUEUE, OUTCOME_QUEUE, instruction_queue_of, queue_of, tenant_prefix

TENANT = "acme"
OWN = ReleaseIdentity(TENANT, "payments", "1", "1.0")
OWN_QUEUES = (queue_of(OWN), f"{queue_of(OWN)}\x06\x163", instruction_queue_of(OWN, "w-1"))
OTHERS = [ReleaseIdentity(tenant, "payments", "1", "1.0") for tenant in ("acme-2", "acm", "*")]
# Commands that authenticate, reset or close a connection. Redis applies no ACL to them.
UNRESTRICTED = {"auth", "hello", "quit", "reset"}
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


@cases("queue", OWN_QUEUES)
def test_a_worker_may_use_some_commands_with_the_queues_of_its_tenant(owner: Any, queue: str) -> None:
    """Ask the server about each of its commands."""
    permitted: dict[str, str] = {}
    for name, arity in commands(owner):
        words = name.split("|")
        words += [queue] * (abs(arity) - len(words))
        answer = text(owner.execute_command("ACL", "DRYRUN", queues.worker_user(TENANT), *words))
        if "permissions to run" not in answer:
            permitted[name] = answer
    assert {name for name, answer in permitted.items() if answer == "OK"} >= ALLOWED
    assert permitted.keys() - ALLOWED <= UNRESTRICTED


def commands(owner: Any) -> list[tuple[str, int]]:
    """Name and arity of every command of the server, or of its subcommands if it has any."""
    arities: list[tuple[str, int]] = []
    for entry in owner.execute_command("COMMAND").values():
        leaves = [(text(sub[0]), sub[1]) for sub in entry["subcommands"]]
        arities += leaves or [(entry["name"], entry["arity"])]
    assert len(arities) > 300
    return arities


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.fixture
def tenants(db: None) -> None:
    making.tenant("acme")
    making.tenant("acme-2")


def printed(capsys: Any, *arguments: Any, **options: Any) -> list[str]:
    call_command("broker_acl", *arguments, **options)
    lines: list[str] = capsys.readouterr().out.splitlines()
    return lines


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

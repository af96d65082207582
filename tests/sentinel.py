from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from embedded.children import Child, Children, free_port
from embedded.valkey import Valkey
from tests.building import eventually
from tests.tcp_proxy import tls_in_front_of
from wire.messages.queues import COORDINATOR, COORDINATOR_RULES, enable

NAME = "broker"
WATCH = """
bind 127.0.0.1
port {port}
dir "{folder}"
sentinel monitor {name} 127.0.0.1 {primary} 2
sentinel auth-user {name} {user}
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} 5000
sentinel failover-timeout {name} 4000
"""


@dataclass(frozen=True)
class Watched:
    """The servers, and the URL that names the Sentinels for the coordinator's user."""

    primary: Valkey
    replica: Valkey
    url: str

    def add_user(self, url: str) -> None:
        """Give the user of `url`, who exists on the primary, the same password and rights on the replica.

        A failover does not copy users.
        """
        with Redis.from_url(self.primary.owner_url) as primary, Redis.from_url(self.replica.owner_url) as replica:
            for line in primary.acl_list():
                words = line.split()
                if words[1] == urlsplit(url).username:
                    replica.execute_command("ACL", "SETUSER", words[1], *_rules(words[2:]))

    def is_replicated(self) -> bool:
        with Redis.from_url(self.replica.owner_url) as client:
            return bool(client.info("replication")["master_link_status"] == "up")


def _rules(words: list[str]) -> list[str]:
    """Join the words of selectors, which a rule of ACL SETUSER contains as a whole."""
    rules: list[str] = []
    for word in words:
        if rules and rules[-1].startswith("(") and not rules[-1].endswith(")"):
            rules[-1] += f" {word}"
        else:
            rules.append(word)
    return rules


@contextmanager
def watched(folder: Path, certificate: Path | None = None) -> Iterator[Watched]:
    """Run the servers. With a `certificate`, their clients use TLS.

    The binaries have no TLS, so the servers and Sentinels talk to each other without it, at the same ports.
    """
    with ExitStack() as up:

        def reached_at(port: int) -> int:
            front = tls_in_front_of(port, certificate, plain_too=True) if certificate else nullcontext(port)
            return up.enter_context(front)

        primary, replica = (up.enter_context(Valkey(folder / name)) for name in ("primary", "replica"))
        primary_port = reached_at(primary.port)
        owner = urlsplit(primary.owner_url)
        coordinator = urlsplit(primary.url)
        with Redis.from_url(replica.owner_url) as client:
            passwords = enable([str(coordinator.password)])
            client.execute_command("ACL", "SETUSER", COORDINATOR, *passwords, *COORDINATOR_RULES)
            client.execute_command("ACL", "SETUSER", owner.username, *enable([str(owner.password)]))
            client.config_set("masteruser", str(owner.username))
            client.config_set("masterauth", str(owner.password))
            client.config_set("replica-announce-port", reached_at(replica.port))
            client.replicaof("127.0.0.1", primary_port)
        children = up.enter_context(Children(folder))
        ports = [free_port() for _ in range(3)]
        for number, port in enumerate(ports):
            _start(children, folder / f"sentinel-{number}", port, primary, primary_port)
        hosts = ",".join(f"127.0.0.1:{reached_at(port)}" for port in ports)
        place = f"{coordinator.username}:{coordinator.password}@{hosts}"
        made = Watched(primary, replica, f"{'sentinels' if certificate else 'sentinel'}://{place}/{NAME}/0")
        eventually(made.is_replicated, what="the replication")
        for port in ports:
            eventually(lambda port=port: _knows_all(port), what="the Sentinels")  # type: ignore[misc]
        yield made


def _start(children: Children, folder: Path, port: int, primary: Valkey, primary_port: int) -> Child:
    folder.mkdir()
    owner = urlsplit(primary.owner_url)
    configuration = folder / "sentinel.conf"
    values = {"user": owner.username, "password": owner.password, "primary": primary_port}
    configuration.write_text(WATCH.format(port=port, folder=folder, name=NAME, **values))
    assert primary.child is not None
    binary = Path(f"/proc/{primary.child.pid}/exe").readlink()
    return children.start(folder.name, [binary, configuration, "--sentinel"], environment={})


def _knows_all(port: int) -> bool:
    """Return True if the Sentinel knows the replica and the other two Sentinels."""
    with Redis(port=port, decode_responses=True) as client:
        try:
            state = client.sentinel_master(NAME)
        except OSError:
            return False
    return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)

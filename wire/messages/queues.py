"""The names of queues, tasks and tickets on the broker, and the rights of its users. Pure; both sides share it.

The rights are rules in the language of Redis and Valkey ACLs (Redis 7.2, Valkey 7.2 or later). The workers of a tenant
share one user. It may use the queues of its tenant, and append to the queues of outcomes and heartbeats, which it can
neither read nor trim. It has no access to other keys, commands or channels.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache

from wire.identity import ReleaseIdentity

OUTCOME_QUEUE = "outcomes"
HEARTBEAT_QUEUE = "heartbeats"
EXECUTE_TASK = "pipelines.execute"
RECORD_TASK = "executions.record"
INSTRUCTION_TASK = "pipelines.order"
HEARTBEAT_TASK = "executions.heartbeat"


@lru_cache(1000)
def tenant_prefix(tenant_id: str) -> str:
    """Return the prefix of the names of all queues of one tenant, for the patterns of the broker's ACLs.

    It contains a digest of fixed length, so no prefix is the beginning of another one. It contains no special
    characters of patterns.
    """
    return f"tenant.{hashlib.sha256(json.dumps(tenant_id).encode()).hexdigest()[:32]}."


@lru_cache(1000)
def queue_of(identity: ReleaseIdentity) -> str:
    """Return the name of the queue that carries the commands of one release. Each release has a separate queue."""
    text = json.dumps([identity.tenant_id, identity.pipeline_id, identity.contract_version, identity.release_version])
    return f"{tenant_prefix(identity.tenant_id)}release.{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def instruction_queue_of(identity: ReleaseIdentity, worker_id: str) -> str:
    """Return the name of the queue that carries the instructions to one worker of one release."""
    digest = hashlib.sha256(json.dumps([queue_of(identity), worker_id]).encode()).hexdigest()[:40]
    return f"{tenant_prefix(identity.tenant_id)}worker.{digest}"


def ticket_of(identity: ReleaseIdentity, nonce: str) -> str:
    """Return the broker key of the ticket for one command message. The worker that takes it runs the commands."""
    return f"{queue_of(identity)}.ticket.{nonce}"


COORDINATOR = "coordinator"
COORDINATOR_RULES = ("~*", "&*", "+@all", "-@admin", "-@dangerous")
"""For web, control workers and clock. They need no commands that administer the server or list its contents."""

_NOTHING = ("resetkeys", "resetchannels", "clearselectors", "-@all")
_CONNECTION = ("+ping", "+select", "+client|setinfo", "+multi", "+exec")

# To receive messages, return those that arrive too late, count them, keep the newest ones that were not accepted, and
# take the ticket of a command message.
_OWN_QUEUES = ("+brpop", "+lpush", "+rpush", "+llen", "+ltrim", "+expire", "+getdel")


def worker_user(tenant_id: str) -> str:
    """Return the name of the user that all workers of a tenant share."""
    return f"worker-{tenant_id}"


def worker_rules(tenant_id: str) -> tuple[str, ...]:
    """Return the rules for the workers of a tenant. They are idempotent."""
    own_queues = (f"~{tenant_prefix(tenant_id)}*", *_OWN_QUEUES)
    append_only = f"(+lpush %W~{OUTCOME_QUEUE} %W~{HEARTBEAT_QUEUE})"
    return (*_NOTHING, *_CONNECTION, *own_queues, append_only)


def enable(passwords: Iterable[str]) -> tuple[str, ...]:
    """Return the rules that enable a user and add these passwords, as SHA-256 digests. Each password is valid."""
    return ("on", *(f"#{hashlib.sha256(password.encode()).hexdigest()}" for password in passwords))

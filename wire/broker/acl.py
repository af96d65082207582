"""The rules of the broker's users, in the language of Redis and Valkey ACLs (Redis 7.2, Valkey 7.2 or later). Pure.

The workers of a tenant share one user. It may use the queues of its tenant, and append to the queues of outcomes and
heartbeats, which it can neither read nor trim. It has no access to other keys, commands or channels.
"""

import hashlib
from collections.abc import Iterable

from wire.messages.queues import HEARTBEAT_QUEUE, OUTCOME_QUEUE, tenant_prefix

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

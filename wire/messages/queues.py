"""The names of queues, tasks and tickets on the broker. Pure; coordinator and workers share this module."""

import hashlib
import json
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
